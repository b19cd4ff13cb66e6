// Package release identifies the release that a program was built from.
package release

import "runtime/debug"

// version is set by the linker in builds without a repository, such as those of images:
// -X lavka/libs/service/release.version=v1.2.3.
var version string

// Version returns the version set by the linker, or else the commit that the program was built from, or else "unknown".
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
