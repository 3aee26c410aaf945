// What runs in a container's place: a process on this machine, or a little of podrunner itself.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// exitState is how a container ended.
type exitState struct {
	code   int
	signal int
	reason string // Completed, Error, OOMKilled
}

// task is a running container. done is closed when it has ended; exit is valid then.
type task interface {
	done() <-chan struct{}
	exit() exitState
	signal(syscall.Signal)
}

// spawner starts processes from one thread that never ends: the kernel ends a child together with the thread that made it, so no
// process outlives podrunner, however that ends.
type spawner struct{ work chan func() }

func newSpawner() *spawner {
	s := &spawner{make(chan func())}
	go func() {
		runtime.LockOSThread()
		for job := range s.work {
			job()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	result := make(chan error)
	s.work <- func() { result <- cmd.Start() }
	return <-result
}

type processTask struct {
	cmd    *exec.Cmd
	ended  chan struct{}
	result exitState
	oom    bool
}

func (t *processTask) done() <-chan struct{} { return t.ended }
func (t *processTask) exit() exitState       { return t.result }
func (t *processTask) signal(s syscall.Signal) {
	_ = syscall.Kill(-t.cmd.Process.Pid, s)
}

func startProcess(spawn *spawner, argv, env []string, dir string, who *syscall.Credential, output *logFile, oomAfter time.Duration) (task, error) {
	if len(argv) == 0 {
		return nil, fmt.Errorf("no command specified")
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = env, dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: who}
	// pipes of our own: Wait must not hang on a grandchild that keeps one open
	var readers []*os.File
	var copies sync.WaitGroup
	for _, stream := range []string{"stdout", "stderr"} {
		reader, writer, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer writer.Close()
		readers = append(readers, reader)
		if stream == "stdout" {
			cmd.Stdout = writer
		} else {
			cmd.Stderr = writer
		}
		copies.Go(func() { output.copy(reader, stream) })
	}
	if err := spawn.start(cmd); err != nil {
		for _, reader := range readers {
			reader.Close()
		}
		return nil, err
	}
	t := &processTask{cmd: cmd, ended: make(chan struct{})}
	if oomAfter > 0 {
		time.AfterFunc(oomAfter, func() {
			t.oom = true
			t.signal(syscall.SIGKILL)
		})
	}
	go func() {
		_ = cmd.Wait()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		waitAtMost(&copies, time.Second) // its last words are in the log before its end is told
		t.result = exitOf(cmd.ProcessState)
		if t.oom {
			t.result.reason = "OOMKilled"
		}
		close(t.ended)
	}()
	return t, nil
}

func waitAtMost(group *sync.WaitGroup, most time.Duration) {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(most):
	}
}

func exitOf(state *os.ProcessState) exitState {
	status, ok := state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return exitState{code: 128 + int(status.Signal()), signal: int(status.Signal()), reason: "Error"}
	}
	if state.ExitCode() == 0 {
		return exitState{reason: "Completed"}
	}
	return exitState{code: state.ExitCode(), reason: "Error"}
}

// builtinTask: goroutines in place of a process, for thousands of pods at once.
type builtinTask struct {
	stop   context.CancelFunc
	ended  chan struct{}
	result exitState
}

func (t *builtinTask) done() <-chan struct{} { return t.ended }
func (t *builtinTask) exit() exitState       { return t.result }
func (t *builtinTask) signal(s syscall.Signal) {
	if s == syscall.SIGKILL || s == syscall.SIGTERM {
		t.stop()
	}
}

func startDone(lasts time.Duration, output *logFile) task {
	ctx, cancel := context.WithCancel(context.Background())
	t := &builtinTask{stop: cancel, ended: make(chan struct{})}
	go func() {
		defer close(t.ended)
		defer cancel()
		fmt.Fprintf(output.writer("stdout"), "simulated: ends in %s\n", lasts)
		select {
		case <-ctx.Done():
			t.result = exitState{code: 143, signal: int(syscall.SIGTERM), reason: "Error"}
		case <-time.After(lasts):
			t.result = exitState{reason: "Completed"}
		}
	}()
	return t
}

// startEngine answers health checks, the list of models and chats, all at once and with little.
func startEngine(address, model string, output *logFile) (task, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	reply := func(w http.ResponseWriter, body any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(body)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("/v1/models", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"object": "list", "data": []any{map[string]any{"id": model, "object": "model"}}})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		reply(w, map[string]any{"id": "sim", "object": "chat.completion", "model": model,
			"choices": []any{map[string]any{"index": 0, "finish_reason": "stop", "message": map[string]any{"role": "assistant", "content": "ok"}}},
			"usage":   map[string]any{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}})
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ctx, cancel := context.WithCancel(context.Background())
	t := &builtinTask{stop: cancel, ended: make(chan struct{}), result: exitState{reason: "Completed"}}
	fmt.Fprintf(output.writer("stdout"), "simulated engine: %s on %s\n", model, address)
	go func() { _ = server.Serve(listener) }()
	go func() {
		<-ctx.Done()
		_ = server.Close()
		close(t.ended)
	}()
	return t, nil
}
