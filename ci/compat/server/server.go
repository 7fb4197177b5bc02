// Package server starts real etcd and keelkv for tests: own data folder, free ports on 127.0.0.1, ready
// when a linearizable read succeeds, stopped by process id.
package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Options say how one member is started.
type Options struct {
	// Binary is the executable.
	Binary string
	// Flags come after the ones that every member gets.
	Flags []string
}

// Server is one running member.
type Server struct {
	// Address is host:port of the client listener.
	Address string
	// Dir holds the data folder and the log.
	Dir string

	binary  string
	flags   []string
	command *exec.Cmd
	exited  chan struct{}
	waitErr error
	stop    sync.Once
}

// Etcd is the path of the real etcd: ETCD_BIN, or the newest that ci/etcd/build.py has built.
func Etcd() string { return fromEnv("ETCD_BIN", built("v3.7.*")) }

// OlderEtcd is the path of the real etcd of a series like 3.5, which `ci/etcd/build.py 3.5` has built.
func OlderEtcd(series string) string { return built("v" + series + ".*") }

// built is the newest etcd in the cache whose version has a pattern.
func built(versions string) string {
	found, _ := filepath.Glob(filepath.Join(cache(), "etcd", versions, "etcd"))
	sort.Strings(found)
	return append([]string{"etcd"}, found...)[len(found)]
}

// Etcdctl is the path of the unmodified etcdctl: ETCDCTL_BIN, or beside the real etcd.
func Etcdctl() string {
	return fromEnv("ETCDCTL_BIN", filepath.Join(filepath.Dir(Etcd()), "etcdctl"))
}

// Etcdutl is the path of the unmodified etcdutl: ETCDUTL_BIN, or beside the real etcd.
func Etcdutl() string {
	return fromEnv("ETCDUTL_BIN", filepath.Join(filepath.Dir(Etcd()), "etcdutl"))
}

// Keelkv is the path of the server under test: KEELKV_BIN. Without it real etcd is compared with itself,
// which shows what the tests take for a difference that is none.
func Keelkv() string { return fromEnv("KEELKV_BIN", Etcd()) }

func fromEnv(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func cache() string {
	if dir := os.Getenv("KEELKV_CACHE"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ".cache"
	}
	return filepath.Join(home, ".cache", "keelkv")
}

// scratch is in memory where that exists: what is compared here does not depend on the disk.
func scratch() string {
	if dir := os.Getenv("COMPAT_SCRATCH"); dir != "" {
		return dir
	}
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

// Start runs a fresh member and waits until it serves.
func Start(ctx context.Context, o Options) (*Server, error) {
	var errs []error
	// Another process may take a free port before the member does.
	for range 3 {
		s, err := start(ctx, o)
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func start(ctx context.Context, o Options) (*Server, error) {
	dir, err := os.MkdirTemp(scratch(), "keelkv-compat-")
	if err != nil {
		return nil, err
	}
	ports, err := FreePorts(2)
	if err != nil {
		return nil, err
	}
	client, peer := fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	flags := append([]string{
		"--name=compat",
		"--data-dir=" + filepath.Join(dir, "data"),
		"--listen-client-urls=http://" + client,
		"--advertise-client-urls=http://" + client,
		"--listen-peer-urls=http://" + peer,
		"--initial-advertise-peer-urls=http://" + peer,
		"--initial-cluster=compat=http://" + peer,
	}, o.Flags...)
	s := &Server{Address: client, Dir: dir, binary: o.Binary, flags: flags}
	return s, s.run(ctx)
}

// run starts the process over the member's folder and waits until it serves.
func (s *Server) run(ctx context.Context) error {
	if err := s.launch(); err != nil {
		return err
	}
	if err := s.ready(ctx); err != nil {
		tail := s.Log(20)
		s.Stop()
		return fmt.Errorf("%s did not serve: %w\n%s", s.binary, err, tail)
	}
	return nil
}

// launch starts the process.
func (s *Server) launch() error {
	logFile, err := os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer logFile.Close()
	exited := make(chan struct{})
	s.exited, s.command = exited, exec.Command(s.binary, s.flags...)
	s.command.Stdout, s.command.Stderr = logFile, logFile
	// A member must not outlive a test run that was killed.
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.command.Start(); err != nil {
		return err
	}
	command := s.command
	go func() {
		s.waitErr = command.Wait()
		close(exited)
	}()
	return nil
}

// Restart ends the process with SIGTERM and starts it again over the same folder and ports.
func (s *Server) Restart(ctx context.Context) error {
	ending, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := s.Terminate(ending); ending.Err() != nil {
		return fmt.Errorf("%s did not end after SIGTERM: %w", s.binary, err)
	}
	return s.run(ctx)
}

func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	connection, err := s.Dial()
	if err != nil {
		return err
	}
	defer connection.Close()
	read := &etcdserverpb.RangeRequest{Key: []byte("ready")}
	for {
		// A short deadline for each try: gRPC backs off for a second once a dial was refused.
		try, cancelTry := context.WithTimeout(ctx, 2*time.Second)
		_, err := etcdserverpb.NewKVClient(connection).Range(try, read, grpc.WaitForReady(true))
		ready := err == nil && settled(try, connection)
		cancelTry()
		if ready {
			select {
			case <-s.exited:
				return fmt.Errorf("it ended, and another process answers in its place: %w", s.waitErr)
			default:
				return nil
			}
		}
		select {
		case <-s.exited:
			return fmt.Errorf("it ended: %w", s.waitErr)
		case <-ctx.Done():
			return fmt.Errorf("not ready in time: %w", errors.Join(err, ctx.Err()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// settled says whether the storage has the version of the server: etcd writes it shortly after the start, but for 3.5,
// whose storage has none.
func settled(ctx context.Context, connection *grpc.ClientConn) bool {
	status, err := etcdserverpb.NewMaintenanceClient(connection).Status(ctx, &etcdserverpb.StatusRequest{})
	if err == nil && strings.HasPrefix(status.Version, "3.5.") {
		return true
	}
	return err == nil && status.StorageVersion != "" &&
		strings.HasPrefix(status.Version, strings.TrimSuffix(status.StorageVersion, ".0"))
}

// Dial opens a plain gRPC connection to the member.
func (s *Server) Dial(options ...grpc.DialOption) (*grpc.ClientConn, error) {
	quick := grpc.ConnectParams{MinConnectTimeout: time.Second}
	quick.Backoff.BaseDelay, quick.Backoff.Multiplier, quick.Backoff.MaxDelay = 20*time.Millisecond, 1.2, 200*time.Millisecond
	options = append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(quick),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1 << 30)),
		grpc.WithDisableRetry(),
	}, options...)
	return grpc.NewClient("passthrough:///"+s.Address, options...)
}

// Exited is closed once the process has ended.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Pid is the process id.
func (s *Server) Pid() int { return s.command.Process.Pid }

// Log is the end of what the member printed.
func (s *Server) Log(lines int) string {
	text, err := os.ReadFile(filepath.Join(s.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

// Stop ends the process and removes its folder.
func (s *Server) Stop() {
	s.stop.Do(func() {
		// Nothing is kept, so nothing needs a clean end.
		_ = s.command.Process.Kill()
		<-s.exited
		_ = os.RemoveAll(s.Dir)
	})
}

// Terminate sends SIGTERM and waits; it says how the process ended.
func (s *Server) Terminate(ctx context.Context) error {
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.exited:
		return s.waitErr
	case <-ctx.Done():
		return ctx.Err()
	}
}

// given are the ports that were chosen already: one may look free again before its member listens.
var given sync.Map

// FreePorts chooses ports below those that the system gives to whoever dials: else a connection between two members
// could take one between its choice and its use.
func FreePorts(count int) ([]int, error) {
	var ports []int
	for attempt := 0; len(ports) < count; attempt++ {
		port := 12000 + rand.IntN(20000)
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil && attempt < 1000 {
			continue
		} else if err != nil {
			return nil, err
		}
		listener.Close()
		ports = append(ports, port)
	}
	return ports, nil
}

// Pair is the real etcd and the server under test, started alike.
type Pair struct {
	Etcd, Keelkv *Server
}

// StartPair starts both members at once.
func StartPair(ctx context.Context, flags ...string) (*Pair, error) {
	var pair Pair
	var errs [2]error
	var group sync.WaitGroup
	group.Go(func() { pair.Etcd, errs[0] = Start(ctx, Options{Binary: Etcd(), Flags: flags}) })
	group.Go(func() { pair.Keelkv, errs[1] = Start(ctx, Options{Binary: Keelkv(), Flags: flags}) })
	group.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		pair.Stop()
		return nil, err
	}
	return &pair, nil
}

// Sides lists both, real etcd first.
func (p *Pair) Sides() [2]*Server { return [2]*Server{p.Etcd, p.Keelkv} }

// Stop ends both.
func (p *Pair) Stop() {
	for _, s := range p.Sides() {
		if s != nil {
			s.Stop()
		}
	}
}
