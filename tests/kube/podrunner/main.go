// podrunner: a simulator of GPU nodes for a test cluster. It registers nodes, runs the pods that the cluster's own scheduler binds
// to them as ordinary processes on pod addresses, and reports on them as a kubelet does, with a kubelet's identity and rights.
//
//	podrunner pki --dir D --cluster NAME --ips A,B    certificates of a control plane
//	podrunner run --server URL --ca F --ca-key F --nodes F --images F --state D --bin D
//
// What it does as a kubelet does: node objects, leases and heartbeats, pod addresses from the node's range, init containers, image
// pulls (pretended), environment and volumes (as folders), start-up, readiness and liveness probes over HTTP and TCP, restarts with
// back-off, graceful ends with preStop sleep, status, events, logs. What it does not: containers. There is no image, no file system
// of the container's own, no isolation, no limit, no network policy, and no exec.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// settings are the same for every node.
type settings struct {
	server      string
	ca          *authority
	state       string        // logs and volumes
	backoffBase time.Duration // first wait before a crashed container is started again; a kubelet's is 10 s
	backoffMax  time.Duration
	images      *imageRules
	spawn       *spawner
}

func runCommand(args []string) error {
	flags := flag.NewFlagSet("run", flag.ExitOnError)
	server := flags.String("server", "", "URL of the API server")
	caFile := flags.String("ca", "", "the cluster's CA certificate")
	caKey := flags.String("ca-key", "", "its key: each node gets a certificate of its own")
	nodesFile := flags.String("nodes", "", "JSON list of nodes: name, ip, cpu, memory, pods, gpus, labels, taints")
	imagesFile := flags.String("images", "", "JSON list: which image runs what; read anew when it changes")
	state := flags.String("state", "", "folder for logs and volumes")
	bin := flags.String("bin", "", "{bin} in the list of images")
	base := flags.Duration("backoff-base", time.Second, "first wait before a crashed container is started again")
	most := flags.Duration("backoff-max", 30*time.Second, "longest such wait")
	_ = flags.Parse(args)

	ca, err := loadAuthority(*caFile, *caKey)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(*nodesFile)
	if err != nil {
		return err
	}
	var specs []nodeSpec
	if err := json.Unmarshal(text, &specs); err != nil {
		return fmt.Errorf("%s: %w", *nodesFile, err)
	}
	absolute, err := filepath.Abs(*state)
	if err != nil {
		return err
	}
	common := &settings{server: *server, ca: ca, state: absolute, backoffBase: *base, backoffMax: *most,
		images: &imageRules{path: *imagesFile, bin: *bin}, spawn: newSpawner()}
	if _, err := common.images.match("any"); err != nil {
		return err
	}

	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	var all sync.WaitGroup
	for _, spec := range specs {
		n, err := newNode(common, spec)
		if err != nil {
			return err
		}
		all.Go(func() { n.run(ctx) })
	}
	volumes, err := newProvisioner(common)
	if err != nil {
		return err
	}
	all.Go(func() { volumes.run(ctx) })
	log.Printf("%d nodes", len(specs))
	all.Wait()
	return nil
}

func main() {
	log.SetFlags(log.LstdFlags | log.Lmicroseconds | log.LUTC)
	commands := map[string]func([]string) error{"pki": pkiCommand, "run": runCommand}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: podrunner pki|run ...")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "podrunner:", err)
		os.Exit(1)
	}
}
