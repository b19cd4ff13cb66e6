package childprocess

import (
	"os/exec"
	"runtime"
	"sync"
)

type order struct {
	cmd    *exec.Cmd
	answer chan error
}

// orders returns the channel to the only OS thread that forks. The kernel sends a child its death signal when the thread that
// forked it ends, and Go may end a thread at any time; this one is locked to a goroutine that never returns.
var orders = sync.OnceValue(func() chan<- order {
	ch := make(chan order)
	go func() {
		runtime.LockOSThread()
		for o := range ch {
			o.answer <- o.cmd.Start()
		}
	}()
	return ch
})

func start(cmd *exec.Cmd, opts Options) error {
	cmd.SysProcAttr.Pdeathsig, cmd.SysProcAttr.Cloneflags = opts.DeathSignal, opts.Namespaces
	answer := make(chan error, 1)
	orders() <- order{cmd, answer}
	return <-answer
}
