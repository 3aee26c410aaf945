// One pod from its binding to its end: init containers in order, then all containers, until it is deleted.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// pod is owned by its own goroutine (run); mu guards what others look at: the newest object, the status, the containers.
type pod struct {
	node *node
	ctx  context.Context // ends with the node's life: processes are killed, nothing is reported
	dir  string
	ip   string

	mu         sync.Mutex
	made       *v1.Pod // as it was when it came here; never changes
	object     *v1.Pod
	status     v1.PodStatus
	containers []*container // init containers first
	dirty      chan struct{}
	gone       chan struct{} // closed: the object is no longer there
	deleting   chan struct{} // closed: deletion was asked
	isDeleting bool
	isGone     bool
}

func newPod(ctx context.Context, n *node, object *v1.Pod) *pod {
	p := &pod{node: n, ctx: ctx, made: object, object: object, dirty: make(chan struct{}, 1), gone: make(chan struct{}), deleting: make(chan struct{}),
		dir: filepath.Join(n.common.state, n.spec.Name, string(object.UID))}
	now := metav1.Now()
	p.status = v1.PodStatus{Phase: v1.PodPending, HostIP: n.spec.IP, HostIPs: []v1.HostIP{{IP: n.spec.IP}}, StartTime: &now,
		Conditions: append([]v1.PodCondition{}, object.Status.Conditions...), QOSClass: object.Status.QOSClass}
	before := map[string]v1.ContainerStatus{}
	for _, status := range append(append([]v1.ContainerStatus{}, object.Status.InitContainerStatuses...), object.Status.ContainerStatuses...) {
		before[status.Name] = status
	}
	for i := range object.Spec.InitContainers {
		p.containers = append(p.containers, newContainer(p, &object.Spec.InitContainers[i], true, before))
	}
	for i := range object.Spec.Containers {
		p.containers = append(p.containers, newContainer(p, &object.Spec.Containers[i], false, before))
	}
	return p
}

// update takes the newest object.
func (p *pod) update(object *v1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.object = object
	// the controller manager says "not Ready" of a node's pods when the node was silent; the kubelet, back again, knows better
	if readiness(object.Status.Conditions) == v1.ConditionFalse && readiness(p.status.Conditions) == v1.ConditionTrue {
		select {
		case p.dirty <- struct{}{}:
		default:
		}
	}
	if object.DeletionTimestamp != nil && !p.isDeleting {
		p.isDeleting = true
		close(p.deleting)
	}
}

func (p *pod) vanish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isGone {
		p.isGone = true
		close(p.gone)
	}
}

func (p *pod) newest() *v1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.object
}

// change edits the status under the lock and has it reported.
func (p *pod) change(edit func()) {
	p.mu.Lock()
	edit()
	p.summarize(time.Now())
	p.mu.Unlock()
	select {
	case p.dirty <- struct{}{}:
	default:
	}
}

func (p *pod) run() {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		log.Printf("%s: %v", p.dir, err)
		return
	}
	reporting, stopReporting := context.WithCancel(p.ctx)
	var reporter sync.WaitGroup
	reporter.Go(func() { p.report(reporting) })

	// life ends when deletion is asked, the object vanishes or the node dies
	life, endLife := context.WithCancel(p.ctx)
	go func() {
		select {
		case <-p.deleting:
		case <-p.gone:
		case <-life.Done():
		}
		endLife()
	}()
	p.live(life)
	endLife()
	p.terminate()
	stopReporting()
	reporter.Wait()
	if p.ip != "" {
		p.node.addresses.free(p.ip)
	}
	if p.ctx.Err() == nil { // else the node died: its files stay, as on a disk
		p.remove()
		_ = os.RemoveAll(p.dir)
	}
}

// live returns when life has ended, whatever the containers do before: a pod that has finished stays until it is deleted.
func (p *pod) live(life context.Context) {
	ip, err := p.node.addresses.take(life)
	if err != nil {
		return
	}
	p.ip = ip
	p.change(func() {
		p.status.PodIP, p.status.PodIPs = ip, []v1.PodIP{{IP: ip}}
	})
	for _, c := range p.containers {
		if c.init && !c.runToCompletion(life) {
			<-life.Done()
			return
		}
	}
	var all sync.WaitGroup
	for _, c := range p.containers {
		if !c.init {
			all.Go(func() { c.runForever(life) })
		}
	}
	all.Wait()
	<-life.Done()
}

// terminate ends all containers: preStop, SIGTERM, SIGKILL at the end of the grace. A dead node's are killed at once.
func (p *pod) terminate() {
	grace := 30 * time.Second
	if seconds := p.newest().Spec.TerminationGracePeriodSeconds; seconds != nil {
		grace = time.Duration(*seconds) * time.Second
	}
	if seconds := p.newest().DeletionGracePeriodSeconds; seconds != nil {
		grace = time.Duration(*seconds) * time.Second
	}
	p.mu.Lock()
	vanished := p.isGone
	p.mu.Unlock()
	if p.ctx.Err() != nil || vanished {
		grace = 0
	}
	deadline := time.Now().Add(grace)
	var all sync.WaitGroup
	for _, c := range p.containers {
		all.Go(func() { c.terminate(deadline) })
	}
	all.Wait()
}

// remove reports the last status and takes the object away, as a kubelet does when everything has ended.
func (p *pod) remove() {
	p.mu.Lock()
	vanished := p.isGone
	p.mu.Unlock()
	if vanished {
		return
	}
	p.flush()
	object := p.newest()
	zero := int64(0)
	for p.ctx.Err() == nil {
		err := p.node.client.CoreV1().Pods(object.Namespace).Delete(p.ctx, object.Name,
			metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &object.UID}})
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return
		}
		log.Printf("%s/%s: delete: %v", object.Namespace, object.Name, err)
		sleep(p.ctx, time.Second)
	}
}

// report sends the status whenever it changed, at most once at a time; changes meanwhile go together.
func (p *pod) report(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.dirty:
			p.flush()
		}
	}
}

func (p *pod) flush() {
	for p.ctx.Err() == nil {
		p.mu.Lock()
		object := p.object
		patch, err := statusPatch(object.UID, &p.status)
		p.mu.Unlock()
		if err != nil {
			log.Printf("%s: %v", object.Name, err)
			return
		}
		_, err = p.node.client.CoreV1().Pods(object.Namespace).Patch(p.ctx, object.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) {
			if apierrors.IsInvalid(err) {
				log.Printf("%s/%s: status refused: %v", object.Namespace, object.Name, err)
			}
			return
		}
		log.Printf("%s/%s: status: %v", object.Namespace, object.Name, err)
		sleep(p.ctx, 500*time.Millisecond)
	}
}

// statusPatch is the whole status. Lists of conditions are merged, so a reason that no longer holds must be taken away by name.
func statusPatch(uid types.UID, status *v1.PodStatus) ([]byte, error) {
	whole, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return nil, err
	}
	conditions, _ := whole["conditions"].([]any)
	for _, one := range conditions {
		if condition, ok := one.(map[string]any); ok && condition["reason"] == nil {
			condition["reason"] = nil
		}
	}
	return json.Marshal(map[string]any{"metadata": map[string]any{"uid": uid}, "status": whole})
}

// event tells what happens, in a kubelet's words. It is best effort, as events are.
func (p *pod) event(kind, reason, format string, words ...any) {
	object, message := p.newest(), fmt.Sprintf(format, words...)
	now := metav1.Now()
	go func() {
		_, err := p.node.client.CoreV1().Events(object.Namespace).Create(p.ctx, &v1.Event{
			ObjectMeta: metav1.ObjectMeta{GenerateName: object.Name + ".", Namespace: object.Namespace},
			InvolvedObject: v1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: object.Namespace, Name: object.Name, UID: object.UID,
				ResourceVersion: object.ResourceVersion},
			Type: kind, Reason: reason, Message: message, Source: v1.EventSource{Component: "kubelet", Host: p.node.spec.Name},
			FirstTimestamp: now, LastTimestamp: now, Count: 1}, metav1.CreateOptions{})
		if err != nil && p.ctx.Err() == nil && !apierrors.IsForbidden(err) {
			log.Printf("%s/%s: event %s: %v", object.Namespace, object.Name, reason, err)
		}
	}()
}

// sleep is false when ctx ended first.
func sleep(ctx context.Context, how time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(how):
		return true
	}
}
