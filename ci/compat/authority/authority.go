// Package authority makes certificates for tests.
package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority is a CA whose files lie in a folder of the test.
type Authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Holder is who has a certificate.
type Holder struct {
	Serial int64
	Common string
	Hosts  []string
	// Over: the certificate has had its time.
	Over bool
}

// Pair names the files of a certificate and its key.
type Pair struct{ Cert, Key string }

// New makes a CA of that name.
func New(t *testing.T, common string) *Authority {
	a := &Authority{t: t, dir: t.TempDir(), key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: common},
		NotBefore:             time.Now().Add(-48 * time.Hour),
		NotAfter:              time.Now().Add(48 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	a.check(err)
	a.cert, err = x509.ParseCertificate(der)
	a.check(err)
	a.write("ca.pem", "CERTIFICATE", der)
	return a
}

// CA names the file of its own certificate.
func (a *Authority) CA() string { return filepath.Join(a.dir, "ca.pem") }

// Pool is what trusts it, and nobody else.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Issue certifies somebody as a server and as a client.
func (a *Authority) Issue(h Holder) Pair {
	key := newKey(a.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(h.Serial),
		Subject:      pkix.Name{CommonName: h.Common},
		NotBefore:    time.Now().Add(-24 * time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if h.Over {
		template.NotAfter = time.Now().Add(-time.Hour)
	}
	for _, host := range h.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	a.check(err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	a.check(err)
	name := h.Common + "-" + big.NewInt(h.Serial).String()
	return Pair{a.write(name+".pem", "CERTIFICATE", der), a.write(name+"-key.pem", "EC PRIVATE KEY", keyDER)}
}

// Revoke writes a list of revoked certificates whose own time is over: that is not held against it.
func (a *Authority) Revoke(serials ...int64) string {
	list := &x509.RevocationList{
		Number:     big.NewInt(1),
		ThisUpdate: time.Now().Add(-24 * time.Hour),
		NextUpdate: time.Now().Add(-time.Hour),
	}
	for _, serial := range serials {
		revoked := x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: time.Now().Add(-time.Hour)}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, revoked)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	a.check(err)
	path := filepath.Join(a.dir, "crl.der")
	a.check(os.WriteFile(path, der, 0o600))
	return path
}

func (a *Authority) write(name, kind string, der []byte) string {
	path := filepath.Join(a.dir, name)
	a.check(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return path
}

func (a *Authority) check(err error) {
	if err != nil {
		a.t.Helper()
		a.t.Fatal(err)
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
