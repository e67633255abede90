package mysql

import (
	"encoding/json"
	"fmt"
	"strings"

	"serverlessproxy/credential"
)

var catalogueOfMySQL = catalogue{
	questions: func(v Version, of scope) []string {
		questions := []string{
			"SELECT * FROM mysql.user" + of.where("User"),
			of.privileges(),
			of.schemata(),
		}
		if v.before(Version{8, 0, 0}) {
			return append(questions, beforeRoles...)
		}
		return append(questions,
			"SELECT @@global.skip_name_resolve AS skip_name_resolve, @@global.lower_case_table_names AS lower_case,"+
				" @@global.mandatory_roles AS mandatory_roles",
			"SELECT USER AS user, HOST AS host FROM mysql.default_roles UNION"+
				" SELECT TO_USER, TO_HOST FROM mysql.role_edges WHERE @@global.activate_all_roles_on_login",
			"SELECT USER AS user, HOST AS host FROM mysql.global_grants WHERE PRIV = 'CONNECTION_ADMIN'",
		)
	},
	fill: fillFromMySQL,
}

// beforeRoles are the last three questions for a server without roles.
var beforeRoles = []string{
	"SELECT @@global.skip_name_resolve AS skip_name_resolve, @@global.lower_case_table_names AS lower_case, '' AS mandatory_roles",
	"SELECT '' AS user, '' AS host WHERE 0",
	"SELECT '' AS user, '' AS host WHERE 0",
}

func fillFromMySQL(book *credential.Book, tables []table, of scope) error {
	settings, err := only(tables, 3)
	if err != nil {
		return err
	}
	rules := rulesOf(settings)
	book.Greeting.SkipNameResolve = rules.skipNameResolve
	book.Databases = databases(tables[2], rules, of)

	patterns := schemaPatterns(tables[1])
	withRoles, admins := accountsIn(tables[4]), accountsIn(tables[5])
	for _, row := range tables[0] {
		if !of.named(row["user"]) {
			continue
		}
		account, err := accountOfMySQL(row)
		if err != nil {
			return fmt.Errorf("read account %s@%s: %w", row["user"], row["host"], err)
		}
		account.CIDR = cidr(book.ServerVersion)
		name := row["user"] + "@" + row["host"]
		account.Superuser = account.Superuser || admins[name]
		if !withRoles[name] && settings["mandatory_roles"] == "" && !opensSchemas(row) {
			account.Schemas = schemasOf(account.User, patterns)
		}
		book.Accounts = append(book.Accounts, account)
	}
	credential.SortAccounts(book.Accounts)
	return nil
}

// cidr tells whether a server takes 10.0.0.0/8 for a network.
func cidr(serverVersion string) bool {
	v, ok := parseVersion(serverVersion)
	return ok && !v.before(Version{8, 0, 23})
}

func accountsIn(rows table) map[string]bool {
	names := map[string]bool{}
	for _, row := range rows {
		names[row["user"]+"@"+row["host"]] = true
	}
	return names
}

// elsewhere are the global privileges that open no schema.
var elsewhere = map[string]bool{
	"reload_priv": true, "shutdown_priv": true, "process_priv": true, "file_priv": true, "show_db_priv": true,
	"super_priv": true, "repl_slave_priv": true, "repl_client_priv": true, "create_user_priv": true,
	"create_tablespace_priv": true, "create_role_priv": true, "drop_role_priv": true,
}

func opensSchemas(row map[string]string) bool {
	for column, value := range row {
		if strings.HasSuffix(column, "_priv") && value == "Y" && !elsewhere[column] {
			return true
		}
	}
	return false
}

// severalFactors stands for an account that needs more than one proof, which
// only the server itself can ask for.
const severalFactors = "multi_factor_authentication"

// userAttributes is the JSON of mysql.user.User_attributes.
type userAttributes struct {
	Second  string          `json:"additional_password"` // RETAIN CURRENT PASSWORD
	Factors json.RawMessage `json:"multi_factor_authentication"`
}

func accountOfMySQL(row map[string]string) (credential.Account, error) {
	account := credential.Account{
		User:            row["user"],
		Host:            row["host"],
		RequireSSL:      row["ssl_type"] != "",
		RequireX509:     row["ssl_type"] == "X509" || row["ssl_type"] == "SPECIFIED",
		Locked:          row["account_locked"] == "Y",
		PasswordExpired: row["password_expired"] == "Y",
		Superuser:       row["super_priv"] == "Y",
		Methods:         []credential.Method{{Plugin: row["plugin"], Verifier: credential.Secret(row["authentication_string"])}},
	}
	var attributes userAttributes
	if text := row["user_attributes"]; text != "" {
		if err := json.Unmarshal([]byte(text), &attributes); err != nil {
			return account, err
		}
	}
	switch {
	case len(attributes.Factors) > 0:
		account.Methods = []credential.Method{{Plugin: severalFactors}}
	case attributes.Second != "":
		account.Methods = append(account.Methods, credential.Method{Plugin: row["plugin"], Verifier: credential.Secret(attributes.Second)})
	}
	return account, nil
}
