package backup

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keelkv/compat/server"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// How much goes through the door. The defaults are for every day.
var (
	doorKeys   = flag.Int("keys", 3000, "keys of TestTheDoorBothWays")
	doorLeases = flag.Int("leases", 100, "leases of TestTheDoorBothWays")
	doorUsers  = flag.Int("users", 5, "users of TestTheDoorBothWays, and roles")
)

const (
	// doorHashes is at how many revisions histories are compared.
	doorHashes = 20
	// What a password costs is not what is tried here.
	cheapPasswords = "--bcrypt-cost=4"
	// doorQuota has room for what is written, a few times over.
	doorQuota = "--quota-backend-bytes=2147483648"
	leasedFor = 3600
)

// house is what goes through the door: keys of users in slices, with leases.
type house struct {
	t      *testing.T
	leases []clientv3.LeaseID
	// revoked are those of the leases that ended.
	revoked map[clientv3.LeaseID]bool
	// clock is when the step began that is under way.
	clock time.Time
}

// took tells what a step was, and how long it took.
func (h *house) took(step string, values ...any) {
	h.t.Logf("%6.1f s  %s", time.Since(h.clock).Seconds(), fmt.Sprintf(step, values...))
	h.clock = time.Now()
}

// TestTheDoorBothWays brings data with users out of etcd into a cluster of ours, has it used there, and brings it back.
func TestTheDoorBothWays(t *testing.T) {
	h := &house{t: t, revoked: map[clientv3.LeaseID]bool{}, clock: time.Now()}
	first := etcd.start(t, cheapPasswords, doorQuota)
	h.fill(first)
	h.addUsers(first)
	first = connectAs(t, first.Member, "root")
	h.took("etcd filled: %d keys, %d leases, %d users, revision %d", *doorKeys, *doorLeases, *doorUsers, first.hash(0).HashRevision)
	file := first.save()
	h.took("backup of etcd: %.1f MB", megabytes(t, file))

	ours := keelkv.restoreCluster(t, file, 3, cheapPasswords, doorQuota)
	second := h.connectAll(ours)
	h.took("three members of keelkv restored and started")
	h.same(first, second)
	h.use(second)
	h.took("used by its users")
	h.write(second)
	h.took("written to, revision %d", second[0].hash(0).HashRevision)
	file = second[1].save()
	h.took("backup of keelkv: %.1f MB", megabytes(t, file))

	third := h.connectAll(etcd.restoreCluster(t, file, 3, cheapPasswords, doorQuota))
	h.took("three members of etcd restored and started")
	h.same(second[1], third)
	h.use(third)
	h.took("used by its users")
}

func megabytes(t *testing.T, file string) float64 {
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return float64(info.Size()) / 1e6
}

// connectAll logs root in at each member.
func (h *house) connectAll(members []*server.Member) (connected []*member) {
	for _, one := range members {
		connected = append(connected, connectAs(h.t, one, "root"))
	}
	return connected
}

// each does something for 0 to count-1, several at once.
func (h *house) each(count int, do func(ctx context.Context, n int) error) {
	h.t.Helper()
	ctx, cancel := context.WithCancelCause(h.t.Context())
	defer cancel(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			for n := int(next.Add(1)) - 1; n < count && ctx.Err() == nil; n = int(next.Add(1)) - 1 {
				if err := do(ctx, n); err != nil {
					cancel(err)
				}
			}
		})
	}
	group.Wait()
	if ctx.Err() != nil {
		h.t.Fatal(context.Cause(ctx))
	}
}

// slice is where the keys of a user begin, and end.
func slice(user int) (string, string) {
	return fmt.Sprintf("door/%03d/", user), fmt.Sprintf("door/%03d0", user)
}

// key is one of all; each user has some.
func key(n int) string {
	begin, _ := slice(n % *doorUsers)
	return fmt.Sprintf("%s%07d", begin, n)
}

func text(length int) string {
	var text strings.Builder
	for text.Len() < length {
		fmt.Fprintf(&text, "%016x", rand.Uint64())
	}
	return text.String()[:length]
}

// fill writes keys, some several times and some with a lease, deletes some, and compacts in the middle of it.
func (h *house) fill(m *member) {
	h.leases = make([]clientv3.LeaseID, *doorLeases)
	h.each(len(h.leases), func(ctx context.Context, n int) error {
		granted, err := m.Grant(ctx, leasedFor+int64(n))
		if err == nil {
			h.leases[n] = granted.ID
		}
		return err
	})
	put := func(ctx context.Context, n int) error {
		var options []clientv3.OpOption
		if n < 2*len(h.leases) {
			options = append(options, clientv3.WithLease(h.leases[n/2]))
		}
		_, err := m.Put(ctx, key(n), text(16+n%1000), options...)
		return err
	}
	h.each(*doorKeys, put)
	again := func(ctx context.Context, n int) error { return put(ctx, n%(*doorKeys/10)) }
	h.each(*doorKeys/5, again)
	got, err := m.Get(h.t.Context(), "none")
	if err == nil {
		_, err = m.Compact(h.t.Context(), got.Header.Revision-int64(*doorKeys/10), clientv3.WithCompactPhysical())
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.each(*doorKeys/5, again)
	h.each(*doorKeys/37, func(ctx context.Context, n int) error {
		_, err := m.Delete(ctx, key(37*n))
		return err
	})
	h.each(*doorKeys/100, func(ctx context.Context, n int) error {
		_, err := m.Txn(ctx).Then(clientv3.OpPut(key(n), "a"), clientv3.OpDelete(key(n+*doorKeys/2)), clientv3.OpPut("shared/last", "b")).Commit()
		return err
	})
}

func name(user int) string { return fmt.Sprintf("user%d", user) }

// addUsers gives everybody a role for an own slice, and another's. From then on all have to log in.
func (h *house) addUsers(m *member) {
	var errs []error
	do := func(_ any, err error) { errs = append(errs, err) }
	ctx := h.t.Context()
	do(m.UserAdd(ctx, "root", "root"))
	do(m.UserGrantRole(ctx, "root", "root"))
	for n := range *doorUsers {
		begin, end := slice(n)
		do(m.RoleAdd(ctx, "of-"+name(n)))
		do(m.RoleGrantPermission(ctx, "of-"+name(n), begin, end, clientv3.PermissionType(clientv3.PermReadWrite)))
		do(m.RoleGrantPermission(ctx, "of-"+name(n), "shared/", "shared0", clientv3.PermissionType(clientv3.PermRead)))
		do(m.RoleGrantPermission(ctx, "of-"+name(n), "inbox/"+name(n), "", clientv3.PermissionType(clientv3.PermWrite)))
	}
	for n := range *doorUsers {
		do(m.UserAdd(ctx, name(n), name(n)))
		do(m.UserGrantRole(ctx, name(n), "of-"+name(n)))
		do(m.UserGrantRole(ctx, name(n), "of-"+name((n+2)%*doorUsers)))
	}
	do(m.AuthEnable(ctx))
	if err := errors.Join(errs...); err != nil {
		h.t.Fatal(err)
	}
}

// same compares what root sees at each of the members with what one says that they were made from.
func (h *house) same(one *member, others []*member) {
	h.t.Helper()
	newest := one.hash(0)
	left := newest.HashRevision - newest.CompactRevision
	var expected []hash
	for n := range int64(doorHashes) {
		expected = append(expected, one.hash(newest.CompactRevision+max(1, left*(n+1)/doorHashes)))
	}
	accounts := h.accounts(one)
	h.took("%d hashes of histories", len(expected))
	for _, other := range others {
		for _, want := range expected {
			if found := other.hash(want.HashRevision); !found.equal(want) {
				h.t.Fatalf("HashKV: %+v, %+v", want, found)
			}
		}
		h.took("the same at %s", other.Name)
		if found := h.accounts(other); found != accounts {
			h.t.Fatalf("accounts at %s:\n%s\n%s", other.Name, found, accounts)
		}
		h.each(len(h.leases), func(ctx context.Context, n int) error {
			want, err := one.TimeToLive(ctx, h.leases[n], clientv3.WithAttachedKeys())
			found, err2 := other.TimeToLive(ctx, h.leases[n], clientv3.WithAttachedKeys())
			if err := errors.Join(err, err2); err != nil {
				return err
			}
			lives := found.TTL > leasedFor/2 && found.TTL <= leasedFor+int64(n)
			if h.revoked[h.leases[n]] {
				lives = found.TTL == -1
			} else if found.GrantedTTL != leasedFor+int64(n) {
				lives = false
			}
			if !lives || found.GrantedTTL != want.GrantedTTL || len(found.Keys) != len(want.Keys) {
				return fmt.Errorf("lease %x: %+v, %+v", h.leases[n], want, found)
			}
			return nil
		})
		h.took("users, roles and leases at %s", other.Name)
	}
}

// accounts is what a member says of all users and roles.
func (h *house) accounts(m *member) string {
	h.t.Helper()
	var all strings.Builder
	ctx := h.t.Context()
	status, err := m.AuthStatus(ctx)
	users, err2 := m.UserList(ctx)
	roles, err3 := m.RoleList(ctx)
	if err := errors.Join(err, err2, err3); err != nil {
		h.t.Fatal(err)
	}
	fmt.Fprintln(&all, status.Enabled, status.AuthRevision, users.Users, roles.Roles)
	for _, user := range users.Users {
		got, err := m.UserGet(ctx, user)
		if err != nil {
			h.t.Fatal(err)
		}
		fmt.Fprintln(&all, user, got.Roles)
	}
	for _, role := range roles.Roles {
		got, err := m.RoleGet(ctx, role)
		if err != nil {
			h.t.Fatal(err)
		}
		fmt.Fprintln(&all, role, got.Perm)
	}
	return all.String()
}

// use has everybody log in, one here and one there, and try what is allowed and what is not.
func (h *house) use(members []*member) {
	h.t.Helper()
	ctx := h.t.Context()
	for n := range *doorUsers {
		user := connectAs(h.t, members[n%len(members)].Member, name(n))
		var errs []error
		try := func(what string, allowed bool, err error) {
			if allowed != (err == nil) || err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) {
				errs = append(errs, fmt.Errorf("%s, %s: %w", name(n), what, err))
			}
		}
		for _, other := range []int{n, n + 1, n + 2} {
			begin, end := slice(other % *doorUsers)
			allowed := other != n+1
			got, err := user.Get(ctx, begin, clientv3.WithRange(end), clientv3.WithLimit(10))
			try("get", allowed, err)
			if err == nil && len(got.Kvs) != 10 {
				errs = append(errs, fmt.Errorf("%s finds %d keys in %s", name(n), len(got.Kvs), begin))
			}
			_, err = user.Put(ctx, begin+"new", name(n))
			try("put", allowed, err)
			_, err = user.Delete(ctx, begin+"new")
			try("delete", allowed, err)
		}
		_, err := user.Get(ctx, "shared/last")
		try("get what is shared", true, err)
		_, err = user.Put(ctx, "shared/last", "x")
		try("put what is shared", false, err)
		_, err = user.Put(ctx, "inbox/"+name(n), "x")
		try("put", true, err)
		_, err = user.Get(ctx, "inbox/"+name(n))
		try("get what may only be put", false, err)
		_, err = user.UserList(ctx)
		try("list users", false, err)
		_, err = user.Authenticate(ctx, name(n), "wrong")
		if !errors.Is(err, rpctypes.ErrAuthFailed) {
			errs = append(errs, err)
		}
		if err := errors.Join(errs...); err != nil {
			h.t.Fatal(err)
		}
	}
}

// write changes something of everything, at all members.
func (h *house) write(members []*member) {
	h.t.Helper()
	at := func(n int) *member { return members[n%len(members)] }
	h.each(*doorKeys/10, func(ctx context.Context, n int) error {
		_, err := at(n).Put(ctx, key(7*n), text(n%2000))
		return err
	})
	// Those that lose their keys, and new ones.
	ending := h.leases[:len(h.leases)/10]
	h.each(len(ending), func(ctx context.Context, n int) error {
		_, err := at(n).Revoke(ctx, ending[n])
		return err
	})
	for _, id := range ending {
		h.revoked[id] = true
	}
	made := make([]clientv3.LeaseID, len(ending))
	h.each(len(made), func(ctx context.Context, n int) error {
		granted, err := at(n).Grant(ctx, leasedFor+int64(len(h.leases)+n))
		if err != nil {
			return err
		}
		made[n] = granted.ID
		_, err = at(n+1).Put(ctx, key(n), "leased anew", clientv3.WithLease(made[n]))
		return err
	})
	h.leases = append(h.leases, made...)
	h.each(*doorKeys/50, func(ctx context.Context, n int) error {
		_, err := at(n).Delete(ctx, key(47*n+1))
		return err
	})
	ctx := h.t.Context()
	_, err := members[1].UserAdd(ctx, "late", "late")
	_, err2 := members[2].UserGrantRole(ctx, "late", "of-user0")
	_, err3 := members[0].RoleRevokePermission(ctx, "of-user1", "inbox/user1", "")
	_, err4 := members[0].RoleGrantPermission(ctx, "of-user1", "inbox/user1", "", clientv3.PermissionType(clientv3.PermWrite))
	// All members have what the backup will have.
	for _, one := range members {
		_, behind := one.Get(ctx, "none")
		err = errors.Join(err, behind)
	}
	if err := errors.Join(err, err2, err3, err4); err != nil {
		h.t.Fatal(err)
	}
	// A user that has been added at one member logs in there.
	connectAs(h.t, members[0].Member, "late")
}
