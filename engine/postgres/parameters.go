package postgres

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Why a parameter may not be configured.
const (
	byProxy    = "serverlessproxy sets it, since it depends on it"
	byCapacity = "the cluster's capacity decides it: change min_capacity or max_capacity"
	byRole     = "the cluster's capacity decides it: to have another value, ALTER ROLE or ALTER DATABASE … SET it"
	byScaling  = "the ceiling of the cluster's capacity decides it: change connections.ceilings or connections.reserved"
)

// ruled are the parameters that may not be configured, and why.
var ruled = map[string]string{
	"allow_system_table_mods":        "it can destroy the database",
	"cluster_name":                   byProxy,
	"config_file":                    byProxy,
	"data_directory":                 byProxy,
	"effective_cache_size":           byCapacity,
	"external_pid_file":              byProxy,
	"hba_file":                       byProxy,
	"include":                        byProxy,
	"include_dir":                    byProxy,
	"include_if_exists":              byProxy,
	"listen_addresses":               byProxy + "; only the endpoint is reachable",
	"log_destination":                byProxy + "; the log is in the volume, data/log/engine.log",
	"logging_collector":              byProxy + "; the log is in the volume, data/log/engine.log",
	"log_directory":                  byProxy,
	"log_filename":                   byProxy,
	"maintenance_work_mem":           byRole,
	"max_connections":                byScaling,
	"port":                           byProxy,
	"reserved_connections":           byScaling,
	"restart_after_crash":            byProxy,
	"shared_buffers":                 byCapacity,
	"ssl":                            byProxy + "; TLS ends at the endpoint: see tls",
	"superuser_reserved_connections": byScaling,
	"unix_socket_directories":        byProxy,
	"unix_socket_group":              byProxy,
	"unix_socket_permissions":        byProxy,
	"work_mem":                       byRole,
}

// durable are parameters that may be configured, but not so that a committed
// row could be lost or a damaged page go unseen.
var durable = map[string]string{"fsync": "on", "full_page_writes": "on", "ignore_checksum_failure": "off", "zero_damaged_pages": "off", "ignore_invalid_pages": "off"}

var parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*$`)

// CheckParameters says what is wrong with configured parameters, all of it:
// one error for each. Whether the server knows them is its own to say.
func CheckParameters(parameters map[string]string) error {
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		if err := checkParameter(name, parameters[name]); err != nil {
			wrong = append(wrong, fmt.Errorf("parameters.%s: %w", name, err))
		}
	}
	return errors.Join(wrong...)
}

func checkParameter(name, value string) error {
	if !parameterName.MatchString(name) {
		return errors.New("no parameter can have this name; write it as in postgresql.conf")
	}
	if strings.ContainsRune(value, 0) {
		return errors.New("the value holds a zero byte")
	}
	lower := strings.ToLower(name)
	if why, ok := ruled[lower]; ok {
		return fmt.Errorf("cannot be configured: %s; take it out", why)
	}
	if must, ok := durable[lower]; ok && boolean(value) != must {
		return fmt.Errorf("must stay %s, or committed rows could be lost; take it out", must)
	}
	return nil
}

// boolean reads a boolean as the server does: by any unambiguous beginning of
// its words. "" is no boolean.
func boolean(value string) string {
	v := strings.ToLower(strings.TrimSpace(value))
	switch {
	case v == "" || v == "o":
		return ""
	case v == "on" || v == "1" || strings.HasPrefix("true", v) || strings.HasPrefix("yes", v):
		return "on"
	case v == "0" || strings.HasPrefix("off", v) || strings.HasPrefix("false", v) || strings.HasPrefix("no", v):
		return "off"
	}
	return ""
}
