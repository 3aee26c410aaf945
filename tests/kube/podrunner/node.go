// A node: its object, heartbeats, pods, and the port on which the API server asks a kubelet for logs.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-base/version"
)

const (
	kubeletPort   = 10250
	leaseSeconds  = 8
	heartbeat     = 2 * time.Second
	requestsPerS  = 200
	requestsBurst = 400
)

type nodeSpec struct {
	Name   string            `json:"name"`
	IP     string            `json:"ip"`
	CPU    string            `json:"cpu"`
	Memory string            `json:"memory"`
	Pods   int               `json:"pods"`
	GPUs   int               `json:"gpus"`
	Labels map[string]string `json:"labels"`
	Taints []v1.Taint        `json:"taints"`
}

type node struct {
	common    *settings
	spec      nodeSpec
	client    kubernetes.Interface
	serving   tls.Certificate
	addresses *addressPool

	mu   sync.Mutex
	pods map[types.UID]*pod
}

func clientFor(common *settings, id identity) (kubernetes.Interface, tls.Certificate, error) {
	cert, key, err := common.ca.issue(id)
	if err != nil {
		return nil, tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, pair, err
	}
	client, err := kubernetes.NewForConfig(&rest.Config{Host: common.server, QPS: requestsPerS, Burst: requestsBurst,
		ContentConfig:   rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf", AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json"},
		TLSClientConfig: rest.TLSClientConfig{CAData: common.ca.pem, CertData: cert, KeyData: key}})
	return client, pair, err
}

func newNode(common *settings, spec nodeSpec) (*node, error) {
	ip := net.ParseIP(spec.IP)
	if ip == nil {
		return nil, fmt.Errorf("%s: not an address: %q", spec.Name, spec.IP)
	}
	client, pair, err := clientFor(common, identity{name: "system:node:" + spec.Name, groups: []string{"system:nodes"}, ips: []net.IP{ip}, dns: []string{spec.Name}})
	if err != nil {
		return nil, err
	}
	return &node{common: common, spec: spec, client: client, serving: pair, pods: map[types.UID]*pod{}}, nil
}

// run lives one life after the other: while <state>/<node>.down exists the node is dead, its processes too.
func (n *node) run(ctx context.Context) {
	file := filepath.Join(n.common.state, n.spec.Name+".down")
	down := func() bool { _, err := os.Stat(file); return err == nil }
	for ctx.Err() == nil {
		if down() {
			sleep(ctx, 200*time.Millisecond)
			continue
		}
		life, end := context.WithCancel(ctx)
		go func() {
			for life.Err() == nil && !down() {
				sleep(life, 200*time.Millisecond)
			}
			end()
		}()
		if err := n.live(life); err != nil && life.Err() == nil {
			log.Printf("%s: %v", n.spec.Name, err)
			sleep(life, time.Second)
		}
		end()
	}
}

func (n *node) live(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	ctx, end := context.WithCancel(ctx)
	defer end()
	n.addresses = &addressPool{known: make(chan struct{})}
	if err := n.register(ctx); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(n.spec.IP, fmt.Sprint(kubeletPort)))
	if err != nil {
		return err
	}
	all.Go(func() { n.serve(ctx, listener) })
	all.Go(func() { n.beat(ctx) })

	factory := informers.NewSharedInformerFactoryWithOptions(n.client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", n.spec.Name).String()
	}))
	watch := factory.Core().V1().Pods().Informer()
	if _, err := watch.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { n.take(ctx, object.(*v1.Pod), &all) },
		UpdateFunc: func(_, object any) { n.take(ctx, object.(*v1.Pod), &all) },
		DeleteFunc: func(object any) {
			if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = unknown.Obj
			}
			if found, ok := object.(*v1.Pod); ok {
				n.forget(found.UID)
			}
		}}); err != nil {
		return err
	}
	watch.Run(ctx.Done())
	return nil
}

func (n *node) take(ctx context.Context, object *v1.Pod, all *sync.WaitGroup) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if known := n.pods[object.UID]; known != nil {
		known.update(object)
		return
	}
	if object.Status.Phase == v1.PodSucceeded || object.Status.Phase == v1.PodFailed {
		if object.DeletionTimestamp == nil {
			return
		}
	}
	if ctx.Err() != nil {
		return
	}
	p := newPod(ctx, n, object)
	n.pods[object.UID] = p
	p.update(object)
	all.Go(func() {
		p.run()
		n.mu.Lock()
		delete(n.pods, object.UID)
		n.mu.Unlock()
	})
}

func (n *node) forget(uid types.UID) {
	n.mu.Lock()
	known := n.pods[uid]
	n.mu.Unlock()
	if known != nil {
		known.vanish()
	}
}

// register makes the node's object, as a kubelet does for itself, and learns its range of pod addresses.
func (n *node) register(ctx context.Context) error {
	labels := map[string]string{"kubernetes.io/hostname": n.spec.Name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
	for name, value := range n.spec.Labels {
		labels[name] = value
	}
	nodes := n.client.CoreV1().Nodes()
	_, err := nodes.Create(ctx, &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.spec.Name, Labels: labels}, Spec: v1.NodeSpec{Taints: n.spec.Taints}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	if err := n.status(ctx); err != nil {
		return err
	}
	go func() { // the controller manager gives the range; pods wait for it
		for ctx.Err() == nil {
			found, err := nodes.Get(ctx, n.spec.Name, metav1.GetOptions{})
			if err == nil && found.Spec.PodCIDR != "" {
				if err := n.addresses.set(found.Spec.PodCIDR); err != nil {
					log.Printf("%s: %v", n.spec.Name, err)
				}
				return
			}
			sleep(ctx, 200*time.Millisecond)
		}
	}()
	return nil
}

func (n *node) status(ctx context.Context) error {
	found, err := n.client.CoreV1().Nodes().Get(ctx, n.spec.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	now := metav1.Now()
	capacity := v1.ResourceList{v1.ResourceCPU: resource.MustParse(n.spec.CPU), v1.ResourceMemory: resource.MustParse(n.spec.Memory),
		v1.ResourcePods: *resource.NewQuantity(int64(n.spec.Pods), resource.DecimalSI), v1.ResourceEphemeralStorage: resource.MustParse("1Ti")}
	if n.spec.GPUs > 0 {
		capacity["nvidia.com/gpu"] = *resource.NewQuantity(int64(n.spec.GPUs), resource.DecimalSI)
	}
	found.Status.Capacity, found.Status.Allocatable = capacity, capacity
	found.Status.Addresses = []v1.NodeAddress{{Type: v1.NodeInternalIP, Address: n.spec.IP}, {Type: v1.NodeHostName, Address: n.spec.Name}}
	found.Status.DaemonEndpoints.KubeletEndpoint.Port = kubeletPort
	found.Status.NodeInfo.KubeletVersion = version.Get().GitVersion
	found.Status.NodeInfo.OperatingSystem, found.Status.NodeInfo.Architecture = "linux", "amd64"
	found.Status.NodeInfo.ContainerRuntimeVersion = "podrunner://1"
	conditions := map[v1.NodeConditionType]v1.ConditionStatus{v1.NodeReady: v1.ConditionTrue, v1.NodeMemoryPressure: v1.ConditionFalse,
		v1.NodeDiskPressure: v1.ConditionFalse, v1.NodePIDPressure: v1.ConditionFalse}
	for kind, verdict := range conditions {
		next := v1.NodeCondition{Type: kind, Status: verdict, LastHeartbeatTime: now, LastTransitionTime: now, Reason: "Simulated", Message: "simulated by podrunner"}
		i := slices.IndexFunc(found.Status.Conditions, func(c v1.NodeCondition) bool { return c.Type == kind })
		if i < 0 {
			found.Status.Conditions = append(found.Status.Conditions, next)
			continue
		}
		if found.Status.Conditions[i].Status == verdict {
			next.LastTransitionTime = found.Status.Conditions[i].LastTransitionTime
		}
		found.Status.Conditions[i] = next
	}
	_, err = n.client.CoreV1().Nodes().UpdateStatus(ctx, found, metav1.UpdateOptions{})
	return err
}

// beat renews the node's lease, and writes its status where others changed it (the node was thought dead) or deleted it.
func (n *node) beat(ctx context.Context) {
	leases := n.client.CoordinationV1().Leases("kube-node-lease")
	var lease *coordinationv1.Lease
	for round := 0; ctx.Err() == nil; round++ {
		var err error
		if lease == nil {
			lease, err = leases.Get(ctx, n.spec.Name, metav1.GetOptions{})
		}
		now, seconds := metav1.NowMicro(), int32(leaseSeconds)
		if apierrors.IsNotFound(err) {
			lease, err = leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: n.spec.Name},
				Spec: coordinationv1.LeaseSpec{HolderIdentity: &n.spec.Name, LeaseDurationSeconds: &seconds, RenewTime: &now}}, metav1.CreateOptions{})
		} else if err == nil {
			lease.Spec.RenewTime = &now
			lease, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		}
		if err != nil {
			lease = nil // read it anew
		}
		if err == nil {
			err = n.refresh(ctx, round)
		}
		if err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) {
			log.Printf("%s: heartbeat: %v", n.spec.Name, err)
		}
		sleep(ctx, heartbeat)
	}
}

func (n *node) refresh(ctx context.Context, round int) error {
	found, err := n.client.CoreV1().Nodes().Get(ctx, n.spec.Name, metav1.GetOptions{ResourceVersion: "0"})
	if apierrors.IsNotFound(err) {
		return n.register(ctx)
	}
	if err != nil {
		return err
	}
	for _, condition := range found.Status.Conditions {
		if condition.Type == v1.NodeReady && condition.Status == v1.ConditionTrue && round%100 != 0 {
			return nil
		}
	}
	return n.status(ctx)
}

// serve answers what the API server asks of a kubelet: logs. Only a client with a certificate of the cluster's may ask.
func (n *node) serve(ctx context.Context, listener net.Listener) {
	roots := x509.NewCertPool()
	roots.AddCert(n.common.ca.cert)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", n.logs)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx },
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{n.serving}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert}}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		log.Printf("%s: %v", n.spec.Name, err)
	}
}

func (n *node) logs(w http.ResponseWriter, r *http.Request) {
	if peer := r.TLS.PeerCertificates[0].Subject; !slices.Contains(peer.Organization, "system:masters") {
		http.Error(w, "Forbidden: "+peer.CommonName, http.StatusForbidden)
		return
	}
	q, err := parseLogQuery(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var path string
	ended := make(chan struct{})
	close(ended)
	n.mu.Lock()
	for _, p := range n.pods {
		if p.made.Namespace != r.PathValue("namespace") || p.made.Name != r.PathValue("pod") {
			continue
		}
		for _, c := range p.containers {
			if c.spec.Name == r.PathValue("container") {
				path, ended = c.log(q.previous)
			}
		}
	}
	n.mu.Unlock()
	if path == "" {
		http.Error(w, fmt.Sprintf("container %q is not found or has not started", r.PathValue("container")), http.StatusBadRequest)
		return
	}
	if err := serveLog(r.Context(), w, path, q, ended); err != nil {
		http.Error(w, strings.ReplaceAll(err.Error(), n.common.state, ""), http.StatusNotFound)
	}
}

// log: the file of the current or last run, or of the one before, and what is closed when that run has ended.
func (c *container) log(previous bool) (string, chan struct{}) {
	over := make(chan struct{})
	close(over)
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	last := c.status.RestartCount
	if _, err := os.Stat(c.logPath(last)); err != nil && last > 0 {
		last-- // it waits to be started again
	}
	if previous {
		return c.logPath(last - 1), over
	}
	if _, err := os.Stat(c.logPath(last)); err != nil {
		return "", over
	}
	if c.current != nil {
		return c.logPath(last), c.ended
	}
	return c.logPath(last), over
}

// addressPool gives pods the addresses of the node's range, each again only after all others.
type addressPool struct {
	known chan struct{} // closed when the range is

	mu     sync.Mutex
	prefix netip.Prefix
	next   netip.Addr
	used   map[netip.Addr]bool
}

func (a *addressPool) set(cidr string) error {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.prefix.IsValid() {
		a.prefix, a.next, a.used = prefix, prefix.Addr().Next().Next(), map[netip.Addr]bool{} // .1 would be the bridge
		close(a.known)
	}
	return nil
}

func (a *addressPool) take(ctx context.Context) (string, error) {
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-a.known:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for range 1 << (32 - a.prefix.Bits()) {
		address := a.next
		a.next = address.Next()
		if !a.prefix.Contains(a.next.Next()) { // the last one is the broadcast address
			a.next = a.prefix.Addr().Next().Next()
		}
		if !a.used[address] {
			a.used[address] = true
			return address.String(), nil
		}
	}
	return "", errors.New("no pod address is left")
}

func (a *addressPool) free(ip string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if address, err := netip.ParseAddr(ip); err == nil {
		delete(a.used, address)
	}
}
