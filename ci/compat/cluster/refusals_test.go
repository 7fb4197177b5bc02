package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keelkv/compat/server"
)

// ours are members of keelkv that are started one by one, as they should not be.
type ours struct {
	*server.Cluster
	t *testing.T
}

// prepare chooses ports for members whose peer URLs have these schemes.
func prepare(t *testing.T, schemes ...string) *ours {
	t.Helper()
	if server.Keelkv() == server.Etcd() {
		t.Skip("what keelkv's members say is not what etcd's do")
	}
	o := &ours{&server.Cluster{}, t}
	t.Cleanup(func() {
		for _, m := range o.Members {
			if t.Failed() {
				t.Logf("%s:\n%s", m.Name, m.Log(30))
			}
		}
		o.Stop()
	})
	for i, scheme := range schemes {
		m, err := server.NewMember(server.Keelkv(), string([]byte{'m', byte('1' + i)}), scheme, quick...)
		if err != nil {
			t.Fatal(err)
		}
		o.Members = append(o.Members, m)
	}
	for _, m := range o.Members {
		m.With("--initial-cluster=" + o.Initial())
	}
	return o
}

func (o *ours) launch(members ...*server.Member) {
	o.t.Helper()
	for _, m := range members {
		if err := m.Launch(); err != nil {
			o.t.Fatal(err)
		}
	}
}

func (o *ours) serve(members ...*server.Member) {
	o.t.Helper()
	for _, m := range members {
		if err := m.Ready(o.t.Context()); err != nil {
			o.t.Fatal(err)
		}
	}
}

// says waits for a line in the member's log that has all of the words.
func (o *ours) says(m *server.Member, words ...string) {
	o.t.Helper()
	o.t.Logf("%s should say %q", m.Name, words)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, line := range strings.Split(m.Log(100_000), "\n") {
			all := true
			for _, word := range words {
				all = all && strings.Contains(line, word)
			}
			if all {
				return
			}
		}
	}
	o.t.Errorf("%s did not say %q", m.Name, words)
}

// ends waits for the end of the process.
func (o *ours) ends(m *server.Member) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), patience)
	defer cancel()
	if !ended(ctx, m) {
		o.t.Errorf("%s did not end", m.Name)
	}
}

// again starts a member over an empty folder, with further flags.
func (o *ours) again(m *server.Member, flags ...string) {
	o.t.Helper()
	m.Kill()
	if err := m.Wipe(); err != nil {
		o.t.Fatal(err)
	}
	o.launch(m.With(flags...))
}

// TestOneOfThree: a member that is alone says whom it waits for, and serves as soon as there are two.
func TestOneOfThree(t *testing.T) {
	o := prepare(t, "http", "http", "http")
	o.launch(o.Members[0])
	o.says(o.Members[0], "this member waits for a quorum of the cluster")
	o.launch(o.Members[1])
	o.serve(o.Members[:2]...)
	o.launch(o.Members[2])
	o.serve(o.Members[2])
}

// TestAnotherToken: a member of another cluster is told so, and comes in once it has the right token.
func TestAnotherToken(t *testing.T) {
	o := prepare(t, "http", "http", "http")
	third := o.Members[2].With("--initial-cluster-token=another")
	o.launch(o.Members...)
	o.serve(o.Members[:2]...)
	o.says(o.Members[0], "no connection to peer", "check --initial-cluster and --initial-cluster-token of both")
	o.says(o.Members[0], "rejected connection on peer endpoint", "(m3) is refused", "--initial-cluster-token")
	o.says(third, "no connection to peer", "check --initial-cluster and --initial-cluster-token of both")
	o.again(third, "--initial-cluster-token=etcd-cluster")
	o.serve(third)
}

// TestNamesAndURLs: what cannot be a cluster ends at once.
func TestNamesAndURLs(t *testing.T) {
	for name, c := range map[string]struct {
		initial func(a, b string) string
		says    string
	}{
		"the same URL twice":        {func(a, _ string) string { return "m1=" + a + ",m2=" + a }, "has duplicate url"},
		"the same name twice":       {func(a, b string) string { return "m1=" + a + ",m1=" + b }, "missing from --initial-advertise-peer-urls"},
		"without this member":       {func(_, b string) string { return "m2=" + b }, "couldn't find local name"},
		"another URL of this one":   {func(_, b string) string { return "m1=" + b }, "missing from --initial-advertise-peer-urls"},
		"no name":                   {func(a, _ string) string { return a }, "error setting up initial cluster"},
		"a URL without a port":      {func(a, _ string) string { return "m1=" + a + ",m2=http://127.0.0.1" }, "does not have the form"},
		"a URL of another protocol": {func(a, _ string) string { return "m1=" + a + ",m2=ftp://127.0.0.1:1" }, "URL scheme must be"},
	} {
		t.Run(name, func(t *testing.T) {
			o := prepare(t, "http", "http")
			m := o.Members[0]
			o.launch(m.With("--initial-cluster=" + c.initial(m.PeerURL, o.Members[1].PeerURL)))
			o.ends(m)
			o.says(m, "error", c.says)
		})
	}
}

// TestHTTPAtThePeerPort: whoever speaks HTTP there reads what the port is for.
func TestHTTPAtThePeerPort(t *testing.T) {
	o := prepare(t, "http")
	o.launch(o.Members...)
	o.serve(o.Members...)
	response, err := http.Get(o.Members[0].PeerURL + "/members")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "keelkv's peer port") {
		t.Errorf("%s %q %v", response.Status, body, err)
	}
	o.says(o.Members[0], "rejected connection on peer endpoint", "HTTP on the peer port")
	o.serve(o.Members...)
}

// TestEtcdAsAPeer: etcd and keelkv do not form a cluster; keelkv's members do, and say what the third one is.
func TestEtcdAsAPeer(t *testing.T) {
	o := prepare(t, "http", "http", "http")
	o.Members[2].Discard()
	third, err := server.NewMember(server.Etcd(), "m3", "http", quick...)
	if err != nil {
		t.Fatal(err)
	}
	o.Members[2] = third
	for _, m := range o.Members {
		m.With("--initial-cluster=" + o.Initial())
	}
	o.launch(o.Members...)
	o.serve(o.Members[:2]...)
	o.says(o.Members[0], "no connection to peer", "HTTP is spoken there", "etcd member's port")
	o.says(o.Members[0], "rejected connection on peer endpoint", "members of etcd cannot join")
	o.says(third, `"level":"warn"`, "400")
	third.Kill()
	url := third.PeerURL
	instead, err := server.NewMember(server.Keelkv(), "m3", "http", quick...)
	if err != nil {
		t.Fatal(err)
	}
	initial := o.Initial()
	o.Members = append(o.Members, instead)
	o.launch(instead.With("--initial-cluster="+initial, "--listen-peer-urls="+url, "--initial-advertise-peer-urls="+url))
	o.serve(instead)
}

// TestAutoTLSAgainstPlain: members that cannot dial TLS say which flags they lack, and come together once they have them.
func TestAutoTLSAgainstPlain(t *testing.T) {
	o := prepare(t, "http", "http", "https")
	o.launch(o.Members[0], o.Members[1], o.Members[2].With("--peer-auto-tls"))
	for _, m := range o.Members[:2] {
		o.says(m, "no connection to peer", "TLS is not set up here", "--peer-auto-tls")
		m.Kill()
		o.launch(m.With("--peer-auto-tls"))
	}
	o.serve(o.Members...)
}

// TestPlainListenerBehindHTTPS: the third member listens in the clear where others are told to find TLS.
func TestPlainListenerBehindHTTPS(t *testing.T) {
	o := prepare(t, "https", "https", "https")
	third := o.Members[2]
	third.With("--listen-peer-urls=" + strings.Replace(third.PeerURL, "https", "http", 1))
	for _, m := range o.Members {
		m.With("--peer-auto-tls")
	}
	// The two come first: the third one reaches them, so it could lead, and they could not pass on to it what they are asked.
	o.launch(o.Members[:2]...)
	o.serve(o.Members[:2]...)
	o.launch(third)
	o.says(o.Members[0], "no connection to peer", "it does not speak TLS")
	o.says(third, "rejected connection on peer endpoint", "TLS")
	third.Kill()
	o.launch(third.With("--listen-peer-urls=" + third.PeerURL))
	o.serve(third)
}

// TestAnotherAuthority: a member whose certificate another authority has signed stays outside until it has a good one.
func TestAnotherAuthority(t *testing.T) {
	o := prepare(t, "https", "https", "https")
	good, other := authority(t), authority(t)
	for _, m := range o.Members[:2] {
		m.With(good...)
	}
	third := o.Members[2].With(other...)
	o.launch(o.Members...)
	o.serve(o.Members[:2]...)
	for _, m := range []*server.Member{o.Members[0], third} {
		o.says(m, "no connection to peer", "no CA that is trusted here signed it")
		o.says(m, "rejected connection on peer endpoint", "it does not trust the CA of this member's certificate")
	}
	o.again(third, good...)
	o.serve(third)
}

// authority makes an authority and a certificate of 127.0.0.1 that it signs, and says so in flags.
func authority(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	check := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	write := func(name, kind string, data []byte) string {
		path := filepath.Join(dir, name)
		check(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600))
		return path
	}
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		check(err)
		return k
	}
	rootKey, leafKey := key(), key()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of a test"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, &rootKey.PublicKey, rootKey)
	check(err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "member"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, &leafKey.PublicKey, rootKey)
	check(err)
	leafPKCS8, err := x509.MarshalPKCS8PrivateKey(leafKey)
	check(err)
	return []string{
		"--peer-cert-file=" + write("cert.pem", "CERTIFICATE", leafDER),
		"--peer-key-file=" + write("key.pem", "PRIVATE KEY", leafPKCS8),
		"--peer-trusted-ca-file=" + write("ca.pem", "CERTIFICATE", rootDER),
		"--peer-client-cert-auth",
	}
}
