// One container of a pod: pull, start, probes, end, and again after a back-off.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// a run of this length forgives the crashes before it, as with a kubelet
const goodRun = 10 * time.Minute

type container struct {
	pod  *pod
	spec *v1.Container
	init bool

	// under pod.mu
	status    v1.ContainerStatus
	completed bool // never to be started again
	current   task
	ended     chan struct{} // of the current run, for those who follow its log

	startFailed bool // only run's goroutine
}

func newContainer(p *pod, spec *v1.Container, isInit bool, before map[string]v1.ContainerStatus) *container {
	no := false
	c := &container{pod: p, spec: spec, init: isInit, status: v1.ContainerStatus{Name: spec.Name, Image: spec.Image, ImageID: "", Started: &no,
		State: waiting("ContainerCreating", "")}}
	if len(p.object.Spec.InitContainers) > 0 && !isInit {
		c.status.State = waiting("PodInitializing", "")
	}
	// the node was down: what ran then has ended, and counts
	if old, ok := before[spec.Name]; ok && old.ContainerID != "" {
		c.status.RestartCount = old.RestartCount + 1
		c.status.LastTerminationState = old.LastTerminationState
		if old.State.Running != nil {
			c.status.LastTerminationState = terminated(exitState{code: 255, reason: "Unknown"}, old.State.Running.StartedAt, old.ContainerID)
		}
	}
	return c
}

func (c *container) logPath(restart int32) string {
	return filepath.Join(c.pod.dir, fmt.Sprintf("%s.%d.log", c.spec.Name, restart))
}

// runToCompletion: an init container. True when it ended well.
func (c *container) runToCompletion(life context.Context) bool {
	return c.loop(life, func(e exitState) bool {
		return e.code != 0 && c.pod.made.Spec.RestartPolicy != v1.RestartPolicyNever
	}) == 0
}

func (c *container) runForever(life context.Context) {
	policy := c.pod.made.Spec.RestartPolicy
	c.loop(life, func(e exitState) bool {
		return policy == v1.RestartPolicyAlways || (policy == v1.RestartPolicyOnFailure && e.code != 0)
	})
}

// loop runs the container until `again` says no; returns its last exit code, -1 when life ended first.
func (c *container) loop(life context.Context, again func(exitState) bool) int {
	wait := c.pod.node.common.backoffBase
	for life.Err() == nil {
		rule, ok := c.pull(life)
		if !ok {
			return -1
		}
		run, since, err := c.start(rule, life)
		if err != nil {
			c.startProblem(err)
			sleep(life, c.pod.node.common.backoffBase)
			continue
		}
		probing, stopProbing := context.WithCancel(life)
		c.probe(probing)
		select {
		case <-run.done():
		case <-life.Done():
		}
		stopProbing()
		if life.Err() != nil {
			return -1 // terminate() sees to the rest
		}
		last := run.exit()
		more := again(last)
		c.finished(last, !more)
		if !more {
			return last.code
		}
		if time.Since(since) > goodRun {
			wait = c.pod.node.common.backoffBase
		}
		c.backOff(life, wait)
		wait = min(2*wait, c.pod.node.common.backoffMax)
	}
	return -1
}

// pull pretends to; false when life ended.
func (c *container) pull(life context.Context) (imageRule, bool) {
	wait, restarts := c.pod.node.common.backoffBase, c.status.RestartCount
	for {
		rule, err := c.pod.node.common.images.match(c.spec.Image)
		if err != nil {
			rule.PullError = err.Error()
		}
		if rule.PullError == "" && restarts > 0 && c.status.ContainerID != "" {
			return rule, true // it is on the node by now
		}
		c.pod.change(func() {
			if c.status.State.Waiting == nil || c.status.State.Waiting.Reason != "ImagePullBackOff" {
				c.status.State = waiting("ContainerCreating", "")
			}
		})
		c.pod.event(v1.EventTypeNormal, "Pulling", "Pulling image %q", c.spec.Image)
		began := time.Now()
		if !sleep(life, time.Duration(rule.PullMS)*time.Millisecond) {
			return rule, false
		}
		if rule.PullError == "" {
			c.pod.event(v1.EventTypeNormal, "Pulled", "Successfully pulled image %q in %s", c.spec.Image, time.Since(began).Round(time.Millisecond))
			return rule, true
		}
		message := fmt.Sprintf("failed to pull and unpack image %q: %s", c.spec.Image, rule.PullError)
		c.pod.event(v1.EventTypeWarning, "Failed", "Failed to pull image %q: %s", c.spec.Image, message)
		c.pod.change(func() { c.status.State = waiting("ErrImagePull", message) })
		if !sleep(life, wait/2) {
			return rule, false
		}
		c.pod.event(v1.EventTypeNormal, "BackOff", "Back-off pulling image %q", c.spec.Image)
		c.pod.change(func() {
			c.status.State = waiting("ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s", c.spec.Image, message))
		})
		if !sleep(life, wait) {
			return rule, false
		}
		wait = min(2*wait, c.pod.node.common.backoffMax)
	}
}

var errConfig = errors.New("CreateContainerConfigError")

func (c *container) start(rule imageRule, life context.Context) (task, time.Time, error) {
	env, err := c.environment(life)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: %v", errConfig, err)
	}
	mounts, err := c.mounts(life)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: %v", errMount, err)
	}
	if rule.StartError != "" {
		return nil, time.Time{}, errors.New(rule.StartError)
	}
	command, args := expand(c.spec.Command, env), expand(c.spec.Args, env)
	for i := range command {
		command[i] = mounts.place(command[i])
	}
	for i := range args {
		args[i] = mounts.place(args[i])
	}
	list := os.Environ()[:0:0]
	for name, value := range env {
		list = append(list, name+"="+mounts.place(podAddress(value, c.pod.ip)))
	}
	who, err := rule.owner(mounts)
	if err != nil {
		return nil, time.Time{}, err
	}
	output, err := openLog(c.logPath(c.status.RestartCount))
	if err != nil {
		return nil, time.Time{}, err
	}
	var run task
	switch rule.Builtin {
	case "engine":
		run, err = startEngine(fmt.Sprintf("%s:%d", c.pod.ip, containerPort(c.spec)), servedModel(append(command, args...), env), output)
	case "done":
		run = startDone(time.Duration(rule.LastsMS)*time.Millisecond, output)
	default:
		line := c.pod.node.common.images.commandLine(rule, c.spec, c.pod.ip, command, args, env)
		run, err = startProcess(c.pod.node.common.spawn, line, list, c.pod.dir, who, output, time.Duration(rule.OOMAfterMS)*time.Millisecond)
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	began := time.Now()
	c.startFailed = false
	c.pod.change(func() {
		started := c.spec.StartupProbe == nil
		c.status.ContainerID = fmt.Sprintf("podrunner://%s/%s/%d", c.pod.made.UID, c.spec.Name, c.status.RestartCount)
		c.status.ImageID = "podrunner://" + c.spec.Image
		c.status.State = v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: metav1.NewTime(began)}}
		c.status.Started = &started
		c.status.Ready = started && c.spec.ReadinessProbe == nil && !c.init
		c.current, c.ended = run, make(chan struct{})
	})
	c.pod.event(v1.EventTypeNormal, "Created", "Container created")
	c.pod.event(v1.EventTypeNormal, "Started", "Container started")
	go func(ended chan struct{}) {
		<-run.done()
		close(ended)
	}(c.ended)
	return run, began, nil
}

func (c *container) startProblem(err error) {
	reason := "RunContainerError"
	switch {
	case errors.Is(err, errConfig):
		reason = "CreateContainerConfigError"
	case errors.Is(err, errMount):
		reason = "ContainerCreating" // a kubelet says so while volumes are missing; its event tells more
	}
	if !c.startFailed {
		c.pod.event(v1.EventTypeWarning, map[bool]string{true: "FailedMount", false: "Failed"}[errors.Is(err, errMount)], "Error: %s", err)
	}
	c.startFailed = true
	c.pod.change(func() { c.status.State = waiting(reason, err.Error()) })
}

// finished records an end. mu is taken inside.
func (c *container) finished(e exitState, forGood bool) {
	no := false
	c.pod.change(func() {
		since := metav1.Now()
		if c.status.State.Running != nil {
			since = c.status.State.Running.StartedAt
		}
		c.status.State = terminated(e, since, c.status.ContainerID)
		if c.spec.TerminationMessagePolicy == v1.TerminationMessageFallbackToLogsOnError && e.code != 0 {
			c.status.State.Terminated.Message = logTail(c.logPath(c.status.RestartCount))
		}
		c.status.Ready, c.status.Started = c.init && e.code == 0, &no
		c.completed, c.current = forGood, nil
	})
}

// backOff shows CrashLoopBackOff while it waits, then counts the restart.
func (c *container) backOff(life context.Context, wait time.Duration) {
	if c.status.RestartCount > 0 || c.init {
		c.pod.event(v1.EventTypeWarning, "BackOff", "Back-off restarting failed container %s in pod %s", c.spec.Name, c.pod.made.Name)
		c.pod.change(func() {
			c.status.LastTerminationState = c.status.State
			c.status.State = waiting("CrashLoopBackOff", fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", wait, c.spec.Name,
				c.pod.made.Name, c.pod.made.Namespace, c.pod.made.UID))
		})
		if !sleep(life, wait) {
			return
		}
	}
	c.pod.change(func() {
		if c.status.State.Terminated != nil {
			c.status.LastTerminationState = c.status.State
			c.status.State = waiting("ContainerCreating", "")
		}
		c.status.RestartCount++
	})
}

// probe starts what the container asks for: start-up first, then readiness and liveness side by side.
func (c *container) probe(ctx context.Context) {
	if c.init {
		return
	}
	kill := func(what string) {
		c.pod.event(v1.EventTypeNormal, "Killing", "Container %s failed %s probe, will be restarted", c.spec.Name, what)
		grace := 30 * time.Second
		if seconds := c.pod.made.Spec.TerminationGracePeriodSeconds; seconds != nil {
			grace = time.Duration(*seconds) * time.Second
		}
		go c.end(time.Now().Add(grace))
	}
	unhealthy := func(what string) func(error) {
		var once sync.Once // one event a run: a kubelet counts repeats in one too
		return func(err error) {
			once.Do(func() { c.pod.event(v1.EventTypeWarning, "Unhealthy", "%s probe failed: %s", what, err) })
		}
	}
	after := func() {
		if p := c.spec.ReadinessProbe; p != nil {
			go probeLoop(ctx, c.spec, p, c.pod.ip, false, func(ok bool) bool {
				if ctx.Err() == nil {
					c.pod.change(func() { c.status.Ready = ok && c.status.State.Running != nil })
				}
				return true
			}, unhealthy("Readiness"))
		}
		if p := c.spec.LivenessProbe; p != nil {
			go probeLoop(ctx, c.spec, p, c.pod.ip, true, func(ok bool) bool {
				if !ok {
					kill("liveness")
				}
				return ok
			}, unhealthy("Liveness"))
		}
	}
	if p := c.spec.StartupProbe; p != nil {
		go probeLoop(ctx, c.spec, p, c.pod.ip, false, func(ok bool) bool {
			if !ok {
				kill("startup")
				return false
			}
			c.pod.change(func() {
				yes := true
				c.status.Started = &yes
				c.status.Ready = c.spec.ReadinessProbe == nil && c.status.State.Running != nil
			})
			after()
			return false
		}, unhealthy("Startup"))
		return
	}
	after()
}

// end asks the current run to end and waits; SIGKILL at the deadline.
func (c *container) end(deadline time.Time) {
	c.pod.mu.Lock()
	run := c.current
	c.pod.mu.Unlock()
	if run == nil {
		return
	}
	if time.Until(deadline) > 0 {
		run.signal(syscall.SIGTERM)
	}
	select {
	case <-run.done():
	case <-time.After(time.Until(deadline)):
		run.signal(syscall.SIGKILL)
		<-run.done()
	}
}

// terminate: the pod is to go. preStop counts against the grace.
func (c *container) terminate(deadline time.Time) {
	c.pod.mu.Lock()
	run := c.current
	c.pod.mu.Unlock()
	if run == nil {
		return
	}
	if c.spec.Lifecycle != nil && c.spec.Lifecycle.PreStop != nil && time.Until(deadline) > 0 {
		c.preStop(c.spec.Lifecycle.PreStop, run, deadline)
	}
	if c.pod.ctx.Err() == nil {
		c.pod.event(v1.EventTypeNormal, "Killing", "Stopping container %s", c.spec.Name)
	}
	c.end(deadline)
	c.finished(run.exit(), true)
}

func (c *container) preStop(hook *v1.LifecycleHandler, run task, deadline time.Time) {
	wait := time.Duration(0)
	switch {
	case hook.Sleep != nil:
		wait = time.Duration(hook.Sleep.Seconds) * time.Second
	case hook.HTTPGet != nil:
		ctx, cancel := context.WithDeadline(c.pod.ctx, deadline)
		defer cancel()
		if err := probeOnce(ctx, c.spec, &v1.Probe{TimeoutSeconds: 60, ProbeHandler: v1.ProbeHandler{HTTPGet: hook.HTTPGet}}, c.pod.ip); err != nil {
			c.pod.event(v1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed: %s", err)
		}
	default:
		c.pod.event(v1.EventTypeWarning, "FailedPreStopHook", "podrunner runs no commands in containers")
	}
	select {
	case <-run.done():
	case <-c.pod.ctx.Done():
	case <-time.After(min(wait, time.Until(deadline))):
	}
}
