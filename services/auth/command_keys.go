package main

import (
	"errors"
	"fmt"
	"io"

	"lavka/services/auth/internal/keys"
)

const keysUsage = "usage: auth keys new FILE, auth keys list FILE, auth keys promote FILE KID, auth keys remove FILE KID"

// runKeys lists or changes the keys in a file of signing keys, and shows the list after a
// change; after new, the new key's id. Running replicas reload the file within seconds.
func runKeys(args []string, out io.Writer) error {
	switch {
	case len(args) == 2 && args[0] == "new":
		key, err := keys.Add(args[1])
		if err != nil {
			return err
		}
		fmt.Fprintln(out, key.ID)
		return nil
	case len(args) == 2 && args[0] == "list":
		return listKeys(args[1], out)
	case len(args) == 3 && args[0] == "promote":
		if err := keys.Promote(args[1], args[2]); err != nil {
			return err
		}
		return listKeys(args[1], out)
	case len(args) == 3 && args[0] == "remove":
		if err := keys.Remove(args[1], args[2]); err != nil {
			return err
		}
		return listKeys(args[1], out)
	}
	return errors.New(keysUsage)
}

func listKeys(file string, out io.Writer) error {
	set, err := keys.Read(file)
	if err != nil {
		return err
	}
	for i, key := range set {
		use := "published"
		if i == 0 {
			use = "signing"
		}
		fmt.Fprintln(out, key.ID, use)
	}
	return nil
}
