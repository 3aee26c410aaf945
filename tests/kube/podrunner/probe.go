// Probes, really made: HTTP and TCP, against the pod's address, with the periods and thresholds that the pod asks for.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// one connection a probe, as a kubelet does; certificates of engines are not looked at
var probeClient = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func portOf(c *v1.Container, port intstr.IntOrString) int {
	if port.Type == intstr.Int {
		return port.IntValue()
	}
	for _, named := range c.Ports {
		if named.Name == port.StrVal {
			return int(named.ContainerPort)
		}
	}
	return port.IntValue()
}

func orDefault(value int32, otherwise int) int {
	if value > 0 {
		return int(value)
	}
	return otherwise
}

// probeOnce: nil when the probe succeeded.
func probeOnce(ctx context.Context, c *v1.Container, p *v1.Probe, ip string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(orDefault(p.TimeoutSeconds, 1))*time.Second)
	defer cancel()
	switch {
	case p.HTTPGet != nil:
		scheme, host := "http", ip
		if p.HTTPGet.Scheme == v1.URISchemeHTTPS {
			scheme = "https"
		}
		if p.HTTPGet.Host != "" {
			host = p.HTTPGet.Host
		}
		address := net.JoinHostPort(host, fmt.Sprint(portOf(c, p.HTTPGet.Port)))
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+p.HTTPGet.Path, nil)
		if err != nil {
			return err
		}
		request.Header.Set("User-Agent", "kube-probe/podrunner")
		for _, header := range p.HTTPGet.HTTPHeaders {
			request.Header.Set(header.Name, header.Value)
			if http.CanonicalHeaderKey(header.Name) == "Host" {
				request.Host = header.Value
			}
		}
		response, err := probeClient.Do(request)
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode < 200 || response.StatusCode >= 400 {
			return fmt.Errorf("HTTP probe failed with statuscode: %d", response.StatusCode)
		}
		return nil
	case p.TCPSocket != nil:
		host := ip
		if p.TCPSocket.Host != "" {
			host = p.TCPSocket.Host
		}
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, fmt.Sprint(portOf(c, p.TCPSocket.Port))))
		if err != nil {
			return err
		}
		return connection.Close()
	default:
		return fmt.Errorf("podrunner makes HTTP and TCP probes only")
	}
}

// probeLoop calls changed(true) after successThreshold successes in a row and changed(false) after failureThreshold failures, each
// time that the verdict changes; failed tells of single failures. It ends when changed returns false, or with ctx.
func probeLoop(ctx context.Context, c *v1.Container, p *v1.Probe, ip string, verdict bool, changed func(bool) bool, failed func(error)) {
	wait := time.Duration(p.InitialDelaySeconds) * time.Second
	good, bad := 0, 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = time.Duration(orDefault(p.PeriodSeconds, 10)) * time.Second
		err := probeOnce(ctx, c, p, ip)
		if ctx.Err() != nil {
			return
		}
		now := verdict
		if err == nil {
			good, bad = good+1, 0
			now = verdict || good >= orDefault(p.SuccessThreshold, 1)
		} else {
			good, bad = 0, bad+1
			failed(err)
			if bad >= orDefault(p.FailureThreshold, 3) {
				now = false
			}
			if bad >= orDefault(p.FailureThreshold, 3) && !verdict && !changed(false) {
				return
			}
		}
		if now != verdict {
			verdict = now
			if !changed(verdict) {
				return
			}
		}
	}
}
