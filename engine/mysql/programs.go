package mysql

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Programs are a server that is installed.
type Programs struct {
	Flavor  *Flavor
	Version Version
	Says    string // its own words: "10.11.19-MariaDB-0+deb12u1"
	Server  string // path
	Filler  string // path of the program that fills a data directory
	Prefix  string // the folder above the server's own: /usr
}

// standardPlaces are looked through after PATH: servers live where users'
// paths do not lead.
var standardPlaces = []string{"/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/usr/bin", "/usr/local/bin", "/usr/local/mysql/bin"}

// versionTimeout bounds "mariadbd --version".
const versionTimeout = 10 * time.Second

// find looks for the first of the accepted flavors: in binDir (and beside it)
// where one is named, else in PATH and the standard places.
func find(ctx context.Context, binDir string, accepted []*Flavor) (Programs, error) {
	folders := foldersOf(binDir)
	var found []string
	for _, flavor := range accepted {
		for _, name := range flavor.programs {
			for _, path := range candidates(binDir, folders, name) {
				programs, err := identify(ctx, path)
				if err != nil {
					found = append(found, err.Error())
					continue
				}
				if programs.Flavor != flavor {
					found = append(found, fmt.Sprintf("%s is %s", path, programs.Flavor.Name))
					continue
				}
				programs.Filler = fillerOf(programs, folders)
				if programs.Filler == "" {
					found = append(found, fmt.Sprintf("%s lacks %s beside it", path, strings.Join(flavor.helpers, " or ")))
					continue
				}
				return programs, nil
			}
		}
	}
	return Programs{}, missing(binDir, accepted, slices.Compact(found))
}

func missing(binDir string, accepted []*Flavor, found []string) error {
	var names, packages []string
	for _, flavor := range accepted {
		names = append(names, flavor.Name)
		packages = append(packages, flavor.install)
	}
	where := "PATH or " + strings.Join(standardPlaces, ", ")
	if binDir != "" {
		where = "bin_dir " + binDir
	}
	seen := ""
	if len(found) > 0 {
		seen = " (" + strings.Join(found, "; ") + ")"
	}
	return fmt.Errorf("%w: no %s in %s%s; install it (apt-get install %s) or name its folder as bin_dir",
		ErrNoServer, strings.Join(names, " or "), where, seen, strings.Join(packages, " or "))
}

func foldersOf(binDir string) []string {
	if binDir != "" {
		prefix := filepath.Dir(filepath.Clean(binDir))
		return []string{binDir, filepath.Join(prefix, "sbin"), filepath.Join(prefix, "bin"), filepath.Join(prefix, "scripts"), filepath.Join(prefix, "libexec")}
	}
	return standardPlaces
}

// candidates are the programs of that name, those in PATH first unless a
// folder was named.
func candidates(binDir string, folders []string, name string) []string {
	paths := executables(folders, name)
	if binDir != "" {
		return paths
	}
	if inPath, err := exec.LookPath(name); err == nil && !slices.Contains(paths, inPath) {
		paths = slices.Insert(paths, 0, inPath)
	}
	return paths
}

// executables are the files of that name in folders that may be run.
func executables(folders []string, name string) []string {
	var paths []string
	for _, folder := range folders {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}

func fillerOf(programs Programs, folders []string) string {
	if len(programs.Flavor.helpers) == 0 {
		return programs.Server
	}
	beside := []string{filepath.Dir(programs.Server), filepath.Join(programs.Prefix, "bin"), filepath.Join(programs.Prefix, "scripts")}
	for _, name := range programs.Flavor.helpers {
		if paths := executables(append(beside, folders...), name); len(paths) > 0 {
			return paths[0]
		}
	}
	return ""
}

// identify asks a server program what it is.
func identify(ctx context.Context, path string) (Programs, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--no-defaults", "--version").Output()
	if err != nil {
		return Programs{}, fmt.Errorf("ask %s for its version: %w", path, describeExit(err))
	}
	flavor, version, says, ok := parseProgramVersion(string(out))
	if !ok {
		return Programs{}, fmt.Errorf("ask %s for its version: it says %q", path, strings.TrimSpace(string(out)))
	}
	actual, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Programs{}, fmt.Errorf("look for %s: %w", path, err)
	}
	return Programs{Flavor: flavor, Version: version, Says: says, Server: path, Prefix: filepath.Dir(filepath.Dir(actual))}, nil
}

func describeExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		line, _, _ := strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n")
		return fmt.Errorf("%w: %s", err, line)
	}
	return err
}

// parseProgramVersion reads "… Ver 10.11.19-MariaDB-0+deb12u1 for …".
func parseProgramVersion(out string) (f *Flavor, v Version, says string, ok bool) {
	_, rest, found := strings.Cut(out, "Ver ")
	if !found {
		return nil, Version{}, "", false
	}
	says, _, _ = strings.Cut(strings.TrimSpace(rest), " ")
	v, ok = parseVersion(says)
	return flavorOf(says), v, says, ok
}

// flavorOf tells by what a server says of its version, at the command line or
// in its greeting.
func flavorOf(says string) *Flavor {
	if strings.Contains(strings.ToLower(says), "mariadb") {
		return MariaDB
	}
	return MySQL
}

// relocated tells whether the server stands elsewhere than it was built for,
// so that it must be told where its own files are.
func (p Programs) relocated() bool { return p.Prefix != "/usr" }

// layout are the options that tell a relocated server where its files are.
func (p Programs) layout() []string {
	if !p.relocated() {
		return nil
	}
	var options []string
	for _, share := range []string{"share/mysql", "share/mariadb", "share"} {
		messages := filepath.Join(p.Prefix, share)
		if exists(filepath.Join(messages, "english", "errmsg.sys")) {
			options = append(options, "--lc-messages-dir="+messages)
			if exists(filepath.Join(messages, "charsets")) {
				options = append(options, "--character-sets-dir="+filepath.Join(messages, "charsets"))
			}
			break
		}
	}
	if plugins := p.pluginFolder(); plugins != "" {
		options = append(options, "--plugin-dir="+plugins)
	}
	return options
}

// pluginFolder is where the server's plugins are, "" where that is not known.
func (p Programs) pluginFolder() string {
	for _, lib := range []string{"lib/mysql/plugin", "lib/plugin", "lib64/mysql/plugin", "lib/mariadb/plugin", "lib64/mariadb/plugin"} {
		if plugins := filepath.Join(p.Prefix, lib); exists(plugins) {
			return plugins
		}
	}
	return ""
}

// plugins load what the flavor wants and this installation has, from the
// operator's folder where there is one: a server complains of a missing plugin
// at every start.
func (p Programs) plugins(folder string) []string {
	if folder == "" {
		folder = p.pluginFolder()
	}
	var options []string
	for _, name := range p.Flavor.plugins {
		if exists(filepath.Join(folder, name+".so")) {
			options = append(options, "--plugin-load-add="+name)
		}
	}
	return options
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// userName is the name of an operating system's user, or its number where it
// has none.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}
