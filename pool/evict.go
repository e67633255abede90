package pool

// Evict ends the sessions of these names, in the words of a forced change of
// capacity. They are on their way out when it returns.
func (p *Pool) Evict(sessions []string) {
	for _, id := range sessions {
		p.mu.Lock()
		seat := p.seats[id]
		p.mu.Unlock()
		if seat != nil {
			seat.session.Close(Evicted)
		}
	}
}
