package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"keelkv/compat/server"
)

// TestSecretsAreNowhere looks for passwords and tokens in everything that a member writes.
func TestSecretsAreNowhere(t *testing.T) {
	// Every call is a slow one here, and told of.
	flags := []string{"--log-level=debug", "--warning-unary-request-duration=1ns", "--bcrypt-cost=4", "--snapshot-count=10"}
	member, err := server.Start(t.Context(), server.Options{Binary: server.Keelkv(), Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	defer member.Stop()
	connection, err := member.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	s := &side{server: member, connection: connection}

	passwords := []string{"Tr0ub4dor-first", "correct-horse-second", "wrong-battery-third", "staple-of-root-4"}
	ask := func(method, token string, ok bool, request proto.Message) {
		t.Helper()
		if answer := s.call(methods[method], token, request); strings.HasPrefix(answer, "OK") != ok {
			t.Fatalf("%s: %s", method, answer)
		}
	}
	authenticate := func(name, password string) string {
		answer, err := pb.NewAuthClient(connection).Authenticate(t.Context(), &pb.AuthenticateRequest{Name: name, Password: password})
		if err != nil {
			t.Fatal(err)
		}
		return answer.Token
	}
	ask("Auth.UserAdd", "", true, &pb.AuthUserAddRequest{Name: "root", Password: passwords[3]})
	ask("Auth.UserAdd", "", true, &pb.AuthUserAddRequest{Name: "alice", Password: passwords[0]})
	ask("Auth.UserAdd", "", false, &pb.AuthUserAddRequest{Name: "alice", Password: passwords[2]})
	// What is not meant to be there is not kept either.
	ask("Auth.UserAdd", "", true, &pb.AuthUserAddRequest{Name: "bob", Password: passwords[2], Options: &authpb.UserAddOptions{NoPassword: true}})
	ask("Auth.UserGrantRole", "", true, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"})
	ask("Auth.AuthEnable", "", true, &pb.AuthEnableRequest{})
	tokens := []string{authenticate("root", passwords[3]), authenticate("alice", passwords[0])}
	ask("Auth.Authenticate", "", false, &pb.AuthenticateRequest{Name: "alice", Password: passwords[2]})
	ask("Auth.Authenticate", "", false, &pb.AuthenticateRequest{Name: "bob", Password: passwords[2]})
	ask("Auth.Authenticate", "", false, &pb.AuthenticateRequest{Name: "eve", Password: passwords[2]})
	ask("Auth.UserChangePassword", tokens[0], true, &pb.AuthUserChangePasswordRequest{Name: "alice", Password: passwords[1]})
	// Tokens that do not count (any more), and one that does in the place of another thing.
	ask("KV.Range", tokens[1], false, &pb.RangeRequest{Key: []byte("a")})
	tokens = append(tokens, "somebodys.lost.token", authenticate("alice", passwords[1]))
	for range 30 {
		ask("KV.Put", tokens[0], true, &pb.PutRequest{Key: []byte("a")})
		ask("KV.Range", tokens[3], false, &pb.RangeRequest{Key: []byte("a")})
		ask("KV.Range", tokens[2], false, &pb.RangeRequest{Key: []byte("a")})
	}
	if err := member.Terminate(t.Context()); err == nil {
		t.Error("SIGTERM did not end it")
	}

	secrets := map[string][]byte{}
	for _, secret := range append(passwords, tokens...) {
		secrets[secret] = []byte(secret)
		secrets[secret+" in hex"] = []byte(hex.EncodeToString([]byte(secret)))
		// The end depends on what follows.
		secrets[secret+" in base64"] = []byte(base64.RawStdEncoding.EncodeToString([]byte(secret[:len(secret)/3*3])))
	}
	files := 0
	err = filepath.WalkDir(member.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		for what, secret := range secrets {
			if bytes.Contains(text, secret) {
				t.Errorf("%s is in %s", what, path)
			}
		}
		return err
	})
	if err != nil || files < 3 {
		t.Fatalf("%d files, %v", files, err)
	}
	log := member.Log(1 << 20)
	for _, part := range []string{"request stats", "invalid auth token", "invalid authentication", `"level":"debug"`} {
		if !strings.Contains(log, part) {
			t.Errorf("the log does not tell of %q: then it proves nothing", part)
		}
	}
}
