// Package release says which release a program is of.
package release

import "runtime/debug"

// version is set by the linker where there is no repository, as in an image's build: -X lavka/libs/service/release.version=v1.2.3.
var version string

// Version is what the linker was told, else the commit that the program was built of, else "unknown".
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				return setting.Value
			}
		}
	}
	return "unknown"
}
