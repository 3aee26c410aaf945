// Certificates of one test cluster: a CA of its own, valid for days, and what each part of a control plane shows to the others.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const certificateLife = 7 * 24 * time.Hour

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// identity is what a certificate says of its holder: user name, groups, and where it may be found when it serves.
type identity struct {
	name   string
	groups []string
	ips    []net.IP
	dns    []string
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func serialNumber() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
}

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		// an hour back: tests shift clocks
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(certificateLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{cert, key, pemBlock("CERTIFICATE", der)}, err
}

func loadAuthority(certFile, keyFile string) (*authority, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: not an ECDSA key", keyFile)
	}
	return &authority{cert, key, pemBlock("CERTIFICATE", cert.Raw)}, nil
}

// issue returns certificate and key as PEM; good for clients and, with addresses, for servers.
func (a *authority) issue(id identity) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, nil, err
	}
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(id.ips)+len(id.dns) > 0 {
		usage = append(usage, x509.ExtKeyUsageServerAuth)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: id.name, Organization: id.groups},
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: usage,
		IPAddresses: id.ips, DNSNames: id.dns,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pemBlock("CERTIFICATE", der), pemBlock("EC PRIVATE KEY", keyDER), nil
}

// pkiCommand writes everything that a control plane needs into a folder: <name>.crt and <name>.key each.
func pkiCommand(args []string) error {
	flags := flag.NewFlagSet("pki", flag.ExitOnError)
	dir := flags.String("dir", "", "folder to write to")
	cluster := flags.String("cluster", "test", "the cluster's name, seen in its CA")
	addresses := flags.String("ips", "127.0.0.1", "addresses of the API server, with commas")
	_ = flags.Parse(args)

	ca, err := newAuthority(*cluster)
	if err != nil {
		return err
	}
	caKey, err := x509.MarshalECPrivateKey(ca.key)
	if err != nil {
		return err
	}
	var ips []net.IP
	for _, text := range strings.Split(*addresses, ",") {
		ip := net.ParseIP(text)
		if ip == nil {
			return fmt.Errorf("not an address: %q", text)
		}
		ips = append(ips, ip)
	}
	write := func(name string, content []byte) error {
		return os.WriteFile(filepath.Join(*dir, name), content, 0o600)
	}
	if err := os.MkdirAll(*dir, 0o700); err != nil {
		return err
	}
	if err := write("ca.crt", ca.pem); err != nil {
		return err
	}
	if err := write("ca.key", pemBlock("EC PRIVATE KEY", caKey)); err != nil {
		return err
	}
	// whoever shows a certificate of this second authority may name the user on whose behalf it asks (aggregated API servers)
	front, err := newAuthority(*cluster + "-front-proxy")
	if err != nil {
		return err
	}
	if err := write("front-proxy-ca.crt", front.pem); err != nil {
		return err
	}
	holders := map[string]identity{
		"apiserver": {name: "kube-apiserver", ips: ips, dns: []string{"localhost", "kubernetes", "kubernetes.default",
			"kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}},
		"apiserver-kubelet-client": {name: "kube-apiserver-kubelet-client", groups: []string{"system:masters"}},
		"admin":                    {name: "kubernetes-admin", groups: []string{"system:masters"}},
		"controller-manager":       {name: "system:kube-controller-manager"},
		"scheduler":                {name: "system:kube-scheduler"},
		"front-proxy-client":       {name: "front-proxy-client"},
		// signs service account tokens; its certificate is not used
		"service-account": {name: "service-account"},
	}
	for file, id := range holders {
		issuer := ca
		if file == "front-proxy-client" {
			issuer = front
		}
		cert, key, err := issuer.issue(id)
		if err != nil {
			return err
		}
		if err := write(file+".crt", cert); err != nil {
			return err
		}
		if err := write(file+".key", key); err != nil {
			return err
		}
	}
	return nil
}
