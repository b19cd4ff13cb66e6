package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"lavka/deploy/postgres"
	"lavka/libs/host/freeport"
	"lavka/libs/service/pgconfig"
)

// project is a shop in containers.
type project struct {
	root string
	env  []string
	url  string // of the gateway

	logs      logs // of all services' containers
	following sync.WaitGroup
}

// logs is text that is read while a command writes it.
type logs struct {
	sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.Lock()
	defer l.Unlock()
	return l.text.String()
}

// services lists the services that run as replicas: all of them.
var services = postgres.Services()

// maxImage is the size limit of an image, in bytes.
const maxImage = 30 << 20

func newProject(root string) (*project, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	port, err := freeport.Take()
	if err != nil {
		return nil, err
	}
	env := append(os.Environ(),
		"COMPOSE_PROJECT_NAME="+projectName, "COMPOSE_ANSI=never", "COMPOSE_PROGRESS=plain", "LAVKA_VERSION=check", "LAVKA_PORT="+strconv.Itoa(port),
		"DECLINES_MAX_PER_USER=1000000", // the buyers of the load are often declined
	)
	return &project{root: root, url: "http://127.0.0.1:" + strconv.Itoa(port), env: append(env, addresses...)}, nil
}

// addresses of the network "shop": others than the defaults, so that a shop in Compose can run beside this one.
var addresses = []string{"LAVKA_SUBNET=10.227.84.0/24", "LAVKA_GATEWAY_IP=10.227.84.2", "LAVKA_REPLICA_IPS=10.227.84.128/25"}

func (p *project) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = p.root, p.env
	return cmd
}

// show runs a command and prints its output and how long it took.
func (p *project) show(ctx context.Context, name string, args ...string) error {
	fmt.Println("$", name, strings.Join(args, " "))
	cmd := p.command(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	fmt.Printf("that took %.1f s\n", time.Since(began).Seconds())
	return nil
}

// read runs a command and returns its output, without surrounding white space.
func (p *project) read(ctx context.Context, name string, args ...string) (string, error) {
	var out, complaint bytes.Buffer
	cmd := p.command(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(complaint.Bytes()))
	}
	return strings.TrimSpace(out.String()), nil
}

const (
	compose     = "deploy/compose/compose"
	projectName = "lavka-check"
)

func (p *project) up(ctx context.Context) error {
	if err := p.show(ctx, compose, "up", "--build", "--wait", "--quiet-pull"); err != nil {
		return err
	}
	p.following.Go(func() { p.followLogs(ctx) })
	return nil
}

func (p *project) remove(ctx context.Context) error {
	if err := p.down(ctx, "--profile", "*", "down", "--volumes", "--remove-orphans"); err != nil {
		return err
	}
	left, err := p.read(ctx, "docker", "volume", "ls", "--quiet", "--filter", "label=com.docker.compose.project="+projectName)
	if err == nil && left != "" {
		err = fmt.Errorf("volumes were not removed: %s", strings.Fields(left))
	}
	return err
}

// down runs a command of Compose that removes containers and networks. Sometimes Docker miscounts the containers that are attached to a network, and refuses
// to remove it until Docker restarts, although no container is left (https://github.com/moby/moby/issues/42119). Then the network stays, and the next up uses it.
func (p *project) down(ctx context.Context, args ...string) error {
	fmt.Println("$", compose, strings.Join(args, " "))
	_, err := p.read(ctx, compose, args...)
	if err == nil || !strings.Contains(err.Error(), "has active endpoints") {
		return err
	}
	left, failed := p.read(ctx, compose, "--profile", "*", "ps", "--all", "--quiet")
	if failed != nil || left != "" {
		return errors.Join(err, failed)
	}
	fmt.Println("no container is left, but Docker has miscounted those that are attached to a network, and keeps the network:", err)
	return nil
}

// followLogs writes the logs of all services' containers to p.logs until ctx ends, those of containers that are removed meanwhile included.
func (p *project) followLogs(ctx context.Context) {
	for last(ctx, 100*time.Millisecond) == nil {
		// It ends when no container is left, as between down and up, and Compose then may print an error of its own. allReplaced notices if nothing was read.
		cmd := p.command(ctx, compose, logsOfServices("--follow")...)
		cmd.Stdout = &p.logs
		_ = cmd.Run()
	}
}

// logsOfServices prints the logs of all services' containers that exist.
func logsOfServices(options ...string) []string {
	return slices.Concat([]string{"--profile", "replace", "logs", "--no-color"}, options, names())
}

// showLogs prints the last lines of each container, and then what the services complained about, also those of containers that were replaced.
func (p *project) showLogs() {
	if err := p.show(context.Background(), compose, "logs", "--tail", "20"); err != nil {
		fmt.Println(err)
	}
	lines := slices.DeleteFunc(strings.Split(p.logs.String(), "\n"), func(line string) bool {
		return !strings.Contains(line, `"level":"WARN"`) && !strings.Contains(line, `"level":"ERROR"`)
	})
	fmt.Printf("%d warnings and errors of services; the last ones:\n", len(lines))
	fmt.Println(strings.Join(lines[max(0, len(lines)-60):], "\n"))
}

// container finds the container of a Compose service.
func (p *project) container(ctx context.Context, service string) (string, error) {
	id, err := p.read(ctx, compose, "ps", "-q", service)
	if err == nil && (id == "" || strings.Contains(id, "\n")) {
		err = fmt.Errorf("%s must have exactly one container, but has %q", service, id)
	}
	return id, err
}

// secret returns the contents of a file in secrets/, without surrounding white space.
func (p *project) secret(name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(p.root, "secrets", name))
	return strings.TrimSpace(string(text)), err
}

// adminURL returns the connection URL of the database's superuser. Postgres has no published port; this machine reaches containers by their addresses.
func (p *project) adminURL(ctx context.Context) (string, error) {
	password, err := p.secret("postgres-password")
	if err != nil {
		return "", err
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword("postgres", password), Host: "postgres:5432", Path: "lavka"}
	return p.inside(ctx, u.String())
}

// inside replaces the host in a URL of Postgres by the current address of its container.
func (p *project) inside(ctx context.Context, rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", errors.New("a URL in secrets/ is not valid") // err would show the password
	}
	id, err := p.container(ctx, "postgres")
	if err != nil {
		return "", err
	}
	addr, err := p.read(ctx, "docker", "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", id)
	u.Host = addr + ":5432"
	return u.String(), err
}

func (p *project) verify(ctx context.Context) error {
	out, err := p.read(ctx, compose, "exec", "-T", "billing-1", "/service", "verify")
	if err == nil {
		fmt.Println(out)
	}
	return err
}

// checked waits until every nightly check has stored a result, since they run at once in a new shop, and none has found a fault.
func (p *project) checked(ctx context.Context) error {
	admin, err := p.adminURL(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := pgconfig.Connect(ctx, admin)
	if err != nil {
		return fmt.Errorf("read the results of the nightly checks: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for {
		var checks, faults int
		err := conn.QueryRow(ctx, `
			SELECT count(DISTINCT of), count(difference) FROM (
				SELECT 'auth' AS of, difference FROM auth.verifications UNION ALL SELECT 'catalog', difference FROM catalog.verifications
				UNION ALL SELECT 'ledger', difference FROM billing.verifications UNION ALL SELECT 'books', difference FROM billing.comparisons) AS runs`).Scan(&checks, &faults)
		switch {
		case err != nil:
			return fmt.Errorf("read the results of the nightly checks: %w", err)
		case faults > 0:
			return fmt.Errorf("%d nightly checks have found a fault", faults)
		case checks == 4:
			fmt.Println("the four nightly checks have run, and everything is sound")
			return nil
		}
		if last(ctx, 500*time.Millisecond) != nil {
			return fmt.Errorf("only %d of the four nightly checks have run", checks)
		}
	}
}

func (p *project) demo(ctx context.Context) error {
	cmd := p.command(ctx, "make", "--no-print-directory", "demo", "SHOP="+p.url)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	fmt.Println(lines[len(lines)-1])
	return nil
}

// images prints the sizes and labels of the services' images, and returns an error if one reaches maxImage.
func (p *project) images(ctx context.Context) error {
	var errs []error
	for _, service := range services {
		text, err := p.read(ctx, "docker", "image", "inspect", "-f", "{{.Size}} {{json .Config.Labels}}", "lavka-"+service+":check")
		if err != nil {
			return err
		}
		size, labels, _ := strings.Cut(text, " ")
		bytes, err := strconv.Atoi(size)
		fmt.Printf("lavka-%s: %.1f MiB %s\n", service, float64(bytes)/(1<<20), labels)
		if err == nil && bytes >= maxImage {
			err = fmt.Errorf("the image of %s has %d bytes, but must have fewer than %d", service, bytes, maxImage)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// inspected is the part of docker inspect that is checked.
type inspected struct {
	Name       string
	HostConfig struct {
		ReadonlyRootfs, Privileged bool
		CapAdd, CapDrop            []string
		SecurityOpt                []string
		Memory, PidsLimit          int64
		PortBindings               map[string][]struct{ HostIP string }
		RestartPolicy              struct{ Name string }
	}
	Config struct {
		User   string
		Labels map[string]string
	}
}

// confined checks that every container has the restrictions that docker-compose.yml promises, and that docker inspect and docker history show no secrets.
func (p *project) confined(ctx context.Context) error {
	ids, err := p.read(ctx, compose, "ps", "-a", "-q")
	if err != nil {
		return err
	}
	text, err := p.read(ctx, "docker", append([]string{"inspect"}, strings.Fields(ids)...)...)
	if err != nil {
		return err
	}
	var all []inspected
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return err
	}
	var errs []error
	wrong := func(c inspected, format string, args ...any) {
		errs = append(errs, fmt.Errorf("container %s: "+format, append([]any{c.Name}, args...)...))
	}
	for _, c := range all {
		service, h := c.Config.Labels["com.docker.compose.service"], c.HostConfig
		if !h.ReadonlyRootfs || h.Privileged || h.Memory <= 0 || h.PidsLimit <= 0 || !slices.Contains(h.CapDrop, "ALL") || !slices.Contains(h.SecurityOpt, "no-new-privileges:true") {
			wrong(c, "has too many privileges: give it the settings of x-hardened, and a mem_limit: %+v", h)
		}
		if len(h.CapAdd) > 0 && service != "gateway" {
			wrong(c, "has the capabilities %v: only the gateway needs one", h.CapAdd)
		}
		if user := c.Config.User; (user == "" || strings.HasPrefix(user, "0") || user == "root") && service != "nats" {
			wrong(c, "runs as root: give it a user")
		}
		for port, bindings := range h.PortBindings {
			for _, b := range bindings {
				if service != "gateway" || b.HostIP != "127.0.0.1" {
					wrong(c, "port %s is published on %q: only the gateway may publish a port, and only on 127.0.0.1", port, b.HostIP)
				}
			}
		}
		if h.RestartPolicy.Name == "" || h.RestartPolicy.Name == "no" {
			wrong(c, "has no restart policy")
		}
	}
	for _, service := range services {
		history, err := p.read(ctx, "docker", "history", "--no-trunc", "lavka-"+service+":check")
		if err != nil {
			return err
		}
		text += history
	}
	words, err := p.secretWords()
	if err != nil {
		return err
	}
	for _, word := range words {
		if strings.Contains(text, word) {
			errs = append(errs, fmt.Errorf("docker inspect or docker history shows a secret that begins with %.3s", word))
		}
	}
	fmt.Printf("checked %d containers, searched for %d secrets\n", len(all), len(words))
	if len(all) < 16 || len(words) < 15 {
		errs = append(errs, errors.New("too few containers or secrets were found: some were not read"))
	}
	return errors.Join(errs...)
}

// secretWords returns the passwords and keys in secrets/.
func (p *project) secretWords() ([]string, error) {
	var words []string
	err := filepath.WalkDir(filepath.Join(p.root, "secrets"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		word := strings.TrimSpace(string(text))
		if u, err := url.Parse(word); err == nil && u.User != nil {
			word, _ = u.User.Password()
		}
		words = append(words, word)
		return nil
	})
	return words, err
}
