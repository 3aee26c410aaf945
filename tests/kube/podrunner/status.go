// The pod's status from its containers' states: phase, conditions, container statuses, as a kubelet puts them together.
package main

import (
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// summarize: p.mu is held.
func (p *pod) summarize(now time.Time) {
	p.status.ObservedGeneration = p.object.Generation
	p.status.InitContainerStatuses, p.status.ContainerStatuses = nil, nil
	initialized, ready, started, ended, failed := true, true, true, true, false
	for _, c := range p.containers {
		if c.init {
			p.status.InitContainerStatuses = append(p.status.InitContainerStatuses, c.status)
			initialized = initialized && c.completed
			continue
		}
		p.status.ContainerStatuses = append(p.status.ContainerStatuses, c.status)
		ready = ready && c.status.Ready
		started = started && (c.status.State.Waiting == nil || c.status.LastTerminationState.Terminated != nil)
		ended = ended && c.completed
		failed = failed || (c.completed && c.status.State.Terminated != nil && c.status.State.Terminated.ExitCode != 0)
	}
	switch {
	case ended && failed:
		p.status.Phase = v1.PodFailed
	case ended:
		p.status.Phase = v1.PodSucceeded
	case initialized && started:
		p.status.Phase = v1.PodRunning
	default:
		p.status.Phase = v1.PodPending
	}
	if ended {
		ready = false
	}
	p.condition(v1.PodReadyToStartContainers, p.status.PodIP != "", "", now)
	p.condition(v1.PodInitialized, initialized, "ContainersNotInitialized", now)
	p.condition(v1.ContainersReady, ready, "ContainersNotReady", now)
	p.condition(v1.PodReady, ready, "ContainersNotReady", now)
}

// condition keeps the time of the last transition while the verdict stays.
func (p *pod) condition(kind v1.PodConditionType, on bool, reason string, now time.Time) {
	next := v1.PodCondition{Type: kind, Status: v1.ConditionFalse, Reason: reason, LastTransitionTime: metav1.NewTime(now),
		ObservedGeneration: p.object.Generation}
	if on {
		next.Status, next.Reason = v1.ConditionTrue, ""
	}
	for i, old := range p.status.Conditions {
		if old.Type == kind {
			if old.Status == next.Status {
				next.LastTransitionTime = old.LastTransitionTime
			}
			p.status.Conditions[i] = next
			return
		}
	}
	p.status.Conditions = append(p.status.Conditions, next)
}

func waiting(reason, message string) v1.ContainerState {
	return v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func terminated(e exitState, since metav1.Time, id string) v1.ContainerState {
	return v1.ContainerState{Terminated: &v1.ContainerStateTerminated{ExitCode: int32(e.code), Signal: int32(e.signal), Reason: e.reason,
		StartedAt: since, FinishedAt: metav1.Now(), ContainerID: id}}
}

func readiness(conditions []v1.PodCondition) v1.ConditionStatus {
	for _, condition := range conditions {
		if condition.Type == v1.PodReady {
			return condition.Status
		}
	}
	return v1.ConditionUnknown
}
