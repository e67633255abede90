package mysql

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"

	"serverlessproxy/acu"
	"serverlessproxy/cluster"
	"serverlessproxy/compute/process"
)

var _ process.Tunable = (*Engine)(nil)

// Tune sets what of the changes is a variable that may be set, and names the
// others. After an error those that were set are what they had been.
func (e *Engine) Tune(ctx context.Context, p process.Place, _ acu.Size, changes []process.ParameterChange) (process.Tuned, error) {
	c, err := e.dialControl(ctx, p)
	if err != nil {
		return process.Tuned{}, err
	}
	defer c.quit()
	var waiting []cluster.SettingChange
	var undo []string
	for _, change := range changes {
		name := variable(change.Name)
		before, err := c.global(ctx, name)
		if err == nil {
			err = c.trySet(ctx, name, e.wording(change))
		}
		switch {
		case err == nil:
			undo = append(undo, name, before)
		case atStartOnly(err):
			waiting = append(waiting, cluster.SettingChange{Setting: change.Name, From: before, To: change.To()})
		default:
			return process.Tuned{}, errors.Join(fmt.Errorf("%s: %w", change.Name, err), c.setBack(context.WithoutCancel(ctx), undo))
		}
	}
	return process.Tuned{Waiting: waiting}, nil
}

// dialControl logs in as the control account.
func (e *Engine) dialControl(ctx context.Context, p process.Place) (*control, error) {
	_, socket := e.Address(p)
	login, err := controlLogin(socket)
	if err != nil {
		return nil, err
	}
	return dial(ctx, "unix", socket, login)
}

// wording are the ways to write a change's value in a statement: which of them
// a variable takes depends on its type.
func (e *Engine) wording(change process.ParameterChange) []string {
	if change.Value != nil {
		return literals(*change.Value)
	}
	if own, ok := e.own(variable(change.Name)); ok {
		return literals(own)
	}
	return []string{"DEFAULT"}
}

// own is the value that Serve gives a variable which nobody has configured.
func (e *Engine) own(name string) (value string, ok bool) {
	programs, err := e.found()
	if err != nil {
		return "", false
	}
	for _, option := range programs.Flavor.settings(programs.Version) {
		written, value, valued := strings.Cut(strings.TrimPrefix(option, "--"), "=")
		if valued && variable(written) == name {
			return value, true
		}
	}
	return "", false
}

// variable is the name that a parameter has in a statement.
func variable(parameter string) string {
	return strings.TrimPrefix(strings.ReplaceAll(strings.ToLower(parameter), "-", "_"), "loose_")
}

var (
	number = regexp.MustCompile(`^([+-]?\d+(\.\d+)?([eE][+-]?\d+)?|(?i:true|false))$`)
	amount = regexp.MustCompile(`^(\d+)([kKmMgGtTpPeE])$`)
)

// literals are how an option's value may read in a statement, the likelier
// first. An option's number may end in K, M and so on, a statement's may not;
// true and false are numbers to a statement.
func literals(value string) []string {
	text := quote(value)
	if strings.Contains(value, `\`) {
		text = literal(value)
	}
	if number.MatchString(value) {
		return []string{value, text}
	}
	if match := amount.FindStringSubmatch(value); match != nil {
		n, err := strconv.ParseUint(match[1], 10, 64)
		shift := 10 * (1 + strings.Index("KMGTPE", strings.ToUpper(match[2])))
		if err == nil && n<<shift>>shift == n {
			return []string{strconv.FormatUint(n<<shift, 10), text}
		}
	}
	return []string{text}
}

// trySet sets a variable by the first of these values that is of its type.
func (c *control) trySet(ctx context.Context, name string, values []string) (err error) {
	for _, value := range values {
		if err = c.run(ctx, "SET GLOBAL "+identifier(name)+" = "+value); errorCode(err) != mysql.ER_WRONG_TYPE_FOR_VAR {
			return err
		}
	}
	return err
}

// global is a variable's value.
func (c *control) global(ctx context.Context, name string) (string, error) {
	tables, err := c.ask(ctx, []string{"SELECT @@GLOBAL." + identifier(name) + " AS value"})
	if err != nil || len(tables[0]) == 0 {
		return "", err
	}
	return tables[0][0]["value"], nil
}

// setBack sets variables, named before each value, to what they were.
func (c *control) setBack(ctx context.Context, undo []string) (failed error) {
	for pair := range slices.Chunk(undo, 2) {
		if err := c.trySet(ctx, pair[0], literals(pair[1])); err != nil {
			failed = errors.Join(failed, fmt.Errorf("set %s back: %w", pair[0], err))
		}
	}
	return failed
}

// atStartOnly tells whether a variable cannot be set while the server runs: it
// can be read alone, has no default to go back to, or is an option and no
// variable.
func atStartOnly(err error) bool {
	switch errorCode(err) {
	case mysql.ER_INCORRECT_GLOBAL_LOCAL_VAR, mysql.ER_UNKNOWN_SYSTEM_VARIABLE, mysql.ER_NO_DEFAULT:
		return true
	}
	return false
}

// errorCode is 0 for an error that the server did not send.
func errorCode(err error) uint16 {
	var sent *mysql.MyError
	if errors.As(err, &sent) {
		return sent.Code
	}
	return 0
}
