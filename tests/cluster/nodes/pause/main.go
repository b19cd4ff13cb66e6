// Pause is the first process of each Pod, which keeps the Pod's namespaces and does nothing. In a Pod that is made to try connections, it also tries them:
//
//	pause connect 10.244.1.7:5432 10.244.1.8:4222
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "connect" {
		if err := json.NewEncoder(os.Stdout).Encode(connect(os.Args[2:])); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	<-end
}

// connect says of each address why it can't be reached, or that it can: "".
func connect(addresses []string) map[string]string {
	told := map[string]string{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, address := range addresses {
		all.Go(func() {
			text := ""
			if c, err := net.DialTimeout("tcp", address, 3*time.Second); err != nil {
				text = err.Error()
			} else {
				c.Close()
			}
			mu.Lock()
			defer mu.Unlock()
			told[address] = text
		})
	}
	all.Wait()
	return told
}
