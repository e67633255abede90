package credential

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Format answers every verb alike: %d of a string would print its text.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }
func (Secret) String() string             { return redacted }
func (Secret) GoString() string           { return redacted }
func (Secret) LogValue() slog.Value       { return slog.StringValue(redacted) }
func (Key) Format(f fmt.State, _ rune)    { io.WriteString(f, redacted) }
func (Key) String() string                { return redacted }
func (Key) GoString() string              { return redacted }
func (Key) LogValue() slog.Value          { return slog.StringValue(redacted) }
func (Key) MarshalText() ([]byte, error)  { return []byte(redacted), nil } // keys are never written
func (Method) LogValue() slog.Value       { return slog.StringValue(redacted) }
func (*Book) LogValue() slog.Value        { return slog.StringValue("[users of a cluster]") }
func (r Role) LogValue() slog.Value       { return slog.StringValue(r.Name) }
func (a Account) LogValue() slog.Value    { return slog.StringValue(a.Name()) }

// Name is the account as the engine writes it.
func (a Account) Name() string { return "'" + a.User + "'@'" + a.Host + "'" }
