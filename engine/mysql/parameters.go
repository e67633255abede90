package mysql

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Why a parameter is refused.
const (
	byCapacity = "it follows the cluster's capacity"
	byProxy    = "serverlessproxy sets it, so that only the endpoint answers"
	byVolume   = "it would put data outside the cluster's volume"
)

// ruled are the parameters that an operator cannot set.
var ruled = map[string]string{
	"max_connections":                  byCapacity,
	"innodb_buffer_pool_size":          byCapacity,
	"innodb_buffer_pool_size_auto_min": byCapacity,
	"innodb_dedicated_server":          byCapacity,

	"admin_address": byProxy, "admin_port": byProxy, "bind_address": byProxy, "bootstrap": byProxy, "chroot": byProxy,
	"console": byProxy, "daemonize": byProxy, "defaults_extra_file": byProxy, "defaults_file": byProxy,
	"defaults_group_suffix": byProxy, "extra_port": byProxy, "gdb": byProxy, "help": byProxy, "init_file": byProxy,
	"initialize": byProxy, "initialize_insecure": byProxy, "install": byProxy, "mysqlx": byProxy, "mysqlx_bind_address": byProxy,
	"mysqlx_port": byProxy, "mysqlx_socket": byProxy, "networking": byProxy, "no_defaults": byProxy, "pid_file": byProxy,
	"port": byProxy, "print_defaults": byProxy, "proxy_protocol_networks": byProxy, "grant_tables": byProxy,
	"socket": byProxy, "user": byProxy, "verbose": byProxy, "version": byProxy,

	"aria_log_dir_path": byVolume, "datadir": byVolume, "general_log_file": byVolume, "innodb_data_home_dir": byVolume,
	"innodb_directories": byVolume, "innodb_log_group_home_dir": byVolume, "innodb_temp_tablespaces_dir": byVolume,
	"innodb_tmpdir": byVolume, "innodb_undo_directory": byVolume, "log_error": byVolume, "log_basename": byVolume,
	"replica_load_tmpdir": byVolume, "slave_load_tmpdir": byVolume, "slow_query_log_file": byVolume, "tmpdir": byVolume,
}

// atBirth are the parameters that a data directory is made with: they are also
// given to what fills it.
var atBirth = []string{
	"character_sets_dir", "innodb_data_file_path", "innodb_page_size", "innodb_undo_tablespaces",
	"lc_messages_dir", "lower_case_table_names", "plugin_dir",
}

var parameterName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)

// CheckParameters refuses the parameters that capacity or the proxy rules, and
// what is no parameter at all; every mistake at once. Whether the server knows
// the others, the server says.
func CheckParameters(parameters map[string]string) error {
	var mistakes []error
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		switch {
		case !parameterName.MatchString(name):
			mistakes = append(mistakes, fmt.Errorf("parameter %q: not the name of a setting", name))
		case strings.ContainsAny(parameters[name], "\x00\n\r"):
			mistakes = append(mistakes, fmt.Errorf("parameter %s: its value holds a line break", name))
		case whyRuled(name, parameters[name]) != "":
			mistakes = append(mistakes, fmt.Errorf("%w: %s: %s; leave it out", ErrRuled, name, whyRuled(name, parameters[name])))
		}
	}
	return errors.Join(mistakes...)
}

// whyRuled says why a parameter cannot be set so; "" if it can.
func whyRuled(name, value string) string {
	name = canonical(name)
	isLog := strings.HasPrefix(name, "log_bin") || strings.HasPrefix(name, "relay_log") || strings.HasPrefix(name, "log_slow")
	if isLog && strings.Contains(value, "/") {
		return byVolume
	}
	return ruled[name]
}

// canonical is the variable that an option's name sets: the servers take - for
// _, and prefixes that say how.
func canonical(name string) string {
	name = strings.ReplaceAll(strings.ToLower(name), "-", "_")
	for _, prefix := range []string{"loose_", "skip_", "disable_", "enable_", "maximum_"} {
		name = strings.TrimPrefix(name, prefix)
	}
	return name
}

// parameter is the value of a parameter, however its name is written.
func parameter(parameters map[string]string, name string) string {
	for written, value := range parameters {
		if canonical(written) == name {
			return value
		}
	}
	return ""
}

// options are the parameters as the server takes them, in a fixed order.
func options(parameters map[string]string) []string {
	var args []string
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		args = append(args, "--"+name+"="+parameters[name])
	}
	return args
}

func birthOptions(parameters map[string]string) []string {
	chosen := maps.Clone(parameters)
	maps.DeleteFunc(chosen, func(name, _ string) bool { return !slices.Contains(atBirth, canonical(name)) })
	return options(chosen)
}
