package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Member is one server of a cluster, whether it runs or not.
type Member struct {
	*Server
	// Name is what --name said.
	Name string
	// PeerURL is where other members find it.
	PeerURL string
}

// NewMember chooses a folder and ports; nothing runs yet. Flags are those beyond name, folder and listeners.
func NewMember(binary, name, scheme string, flags ...string) (*Member, error) {
	dir, err := os.MkdirTemp(scratch(), "keelkv-compat-")
	if err != nil {
		return nil, err
	}
	ports, err := FreePorts(2)
	if err != nil {
		return nil, err
	}
	client, peer := fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("%s://127.0.0.1:%d", scheme, ports[1])
	m := &Member{Server: &Server{Address: client, Dir: dir, binary: binary}, Name: name, PeerURL: peer}
	m.flags = append([]string{
		"--name=" + name,
		"--data-dir=" + filepath.Join(dir, "data"),
		"--listen-client-urls=http://" + client,
		"--advertise-client-urls=http://" + client,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
	}, flags...)
	return m, nil
}

// With adds flags for the next launch; of a flag that comes twice the last counts.
func (m *Member) With(flags ...string) *Member {
	m.flags = append(m.flags, flags...)
	return m
}

// Launch starts the process over the member's folder, and does not wait for anything.
func (m *Member) Launch() error { return m.launch() }

// Ready waits until a linearizable read succeeds.
func (m *Member) Ready(ctx context.Context) error {
	if err := m.ready(ctx); err != nil {
		return fmt.Errorf("%s did not serve: %w\n%s", m.Name, err, m.Log(20))
	}
	return nil
}

// Kill ends the process at once; its folder stays.
func (m *Member) Kill() {
	if m.command != nil {
		_ = m.command.Process.Kill()
		<-m.exited
	}
}

// Wipe removes the data of a member that does not run.
func (m *Member) Wipe() error { return os.RemoveAll(filepath.Join(m.Dir, "data")) }

// Discard ends the process and removes the folder.
func (m *Member) Discard() {
	m.Kill()
	_ = os.RemoveAll(m.Dir)
}

// Cluster is several members, the first of which leads when StartCluster returns.
type Cluster struct {
	Members []*Member
	flags   []string
	binary  string
}

// StartCluster runs fresh members m1, m2 ... and waits until all serve and m1 leads.
func StartCluster(ctx context.Context, binary string, size int, flags ...string) (*Cluster, error) {
	c := &Cluster{flags: flags, binary: binary}
	for i := range size {
		m, err := NewMember(binary, fmt.Sprintf("m%d", i+1), "http", flags...)
		if err != nil {
			return c, err
		}
		c.Members = append(c.Members, m)
	}
	for _, m := range c.Members {
		if err := m.With("--initial-cluster="+c.Initial(), "--initial-cluster-state=new").Launch(); err != nil {
			return c, err
		}
	}
	for _, m := range c.Members {
		if err := m.Ready(ctx); err != nil {
			return c, err
		}
	}
	return c, c.lead(ctx)
}

// Initial is what --initial-cluster says of the members.
func (c *Cluster) Initial() string {
	var named []string
	for _, m := range c.Members {
		named = append(named, m.Name+"="+m.PeerURL)
	}
	return strings.Join(named, ",")
}

// Prepare chooses ports for a member that will join the running cluster.
func (c *Cluster) Prepare(name string) (*Member, error) {
	m, err := NewMember(c.binary, name, "http", c.flags...)
	if err == nil {
		c.Members = append(c.Members, m)
		m.With("--initial-cluster="+c.Initial(), "--initial-cluster-state=existing")
	}
	return m, err
}

// lead makes m1 the leader.
func (c *Cluster) lead(ctx context.Context) error {
	for {
		first, err := c.Members[0].status(ctx)
		if err != nil {
			return err
		}
		if first.Leader == first.Header.MemberId {
			return nil
		}
		for _, m := range c.Members {
			status, err := m.status(ctx)
			if err != nil {
				return err
			}
			if status.Leader == status.Header.MemberId {
				connection, err := m.Dial()
				if err != nil {
					return err
				}
				// It may have ceased to lead meanwhile: then the next round asks another.
				_, _ = etcdserverpb.NewMaintenanceClient(connection).
					MoveLeader(ctx, &etcdserverpb.MoveLeaderRequest{TargetID: first.Header.MemberId})
				connection.Close()
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (m *Member) status(ctx context.Context) (*etcdserverpb.StatusResponse, error) {
	connection, err := m.Dial()
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	return etcdserverpb.NewMaintenanceClient(connection).Status(ctx, &etcdserverpb.StatusRequest{})
}

// Stop ends all members and removes their folders.
func (c *Cluster) Stop() {
	for _, m := range c.Members {
		m.Discard()
	}
}

// StartClusters starts one of each at once, etcd's first.
func StartClusters(ctx context.Context, size int, flags ...string) (clusters [2]*Cluster, err error) {
	var errs [2]error
	var group sync.WaitGroup
	for i, binary := range []string{Etcd(), Keelkv()} {
		group.Go(func() { clusters[i], errs[i] = StartCluster(ctx, binary, size, flags...) })
	}
	group.Wait()
	return clusters, errors.Join(errs[:]...)
}
