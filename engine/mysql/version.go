package mysql

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
)

// Version is a server's version without its vendor's additions.
type Version struct{ Major, Minor, Patch int }

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Series is the part that a data directory depends on: "10.11".
func (v Version) Series() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

func (v Version) compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch))
}

func (v Version) before(w Version) bool { return v.compare(w) < 0 }

var versionNumber = regexp.MustCompile(`(\d+)\.(\d+)(?:\.(\d+))?`)

// parseVersion finds the version in what a server says of itself.
func parseVersion(text string) (Version, bool) {
	m := versionNumber.FindStringSubmatch(text)
	if m == nil {
		return Version{}, false
	}
	var v Version
	for i, part := range []*int{&v.Major, &v.Minor, &v.Patch} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.Atoi(m[i+1])
		if err != nil {
			return Version{}, false
		}
		*part = n
	}
	return v, true
}

// versionOfID reads the number form that data files carry: 101119 is 10.11.19.
func versionOfID(id uint32) Version {
	return Version{int(id / 10000), int(id / 100 % 100), int(id % 100)}
}

// releases says which versions of a flavor are served. Series alone count: the
// patch of every Version here is 0.
type releases struct {
	oldest    Version // anything before is refused
	upgradeTo string  // what to upgrade to before coming here
	supported Version // before this one: works, with a warning
	newest    Version // after this series: works, with a warning
}

// admit returns a warning for a version that works but is not one of those
// supported, or an error for one that is refused.
func (f *Flavor) admit(v Version) (warning string, err error) {
	r := f.releases
	switch {
	case v.before(r.oldest):
		return "", fmt.Errorf("%w: %s %s; upgrade to %s first, then to one of the supported versions (%s)",
			ErrTooOld, f.Name, v, r.upgradeTo, f.Supported())
	case v.before(r.supported):
		return fmt.Sprintf("%s %s is older than the supported versions (%s); it works, but is not tested", f.Name, v, f.Supported()), nil
	case Version{v.Major, v.Minor, 0}.compare(r.newest) > 0:
		return fmt.Sprintf("%s %s is newer than the supported versions (%s); it is not tested", f.Name, v, f.Supported()), nil
	}
	return "", nil
}

// Supported names the range of versions that are tested: "10.6 to 11.8".
func (f *Flavor) Supported() string {
	return fmt.Sprintf("%s %s to %s", f.Name, f.releases.supported.Series(), f.releases.newest.Series())
}
