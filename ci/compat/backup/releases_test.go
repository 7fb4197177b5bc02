package backup

import (
	"errors"
	"strings"
	"testing"

	"keelkv/compat/server"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Backups that older releases of etcd have made. README.md names those.
func TestBackupsOfOlderReleases(t *testing.T) {
	for _, series := range []string{"3.5", "3.6"} {
		t.Run(series, func(t *testing.T) {
			first := side{name: "etcd", binary: server.OlderEtcd(series)}.start(t)
			status, err := etcdserverpb.NewMaintenanceClient(first.ActiveConnection()).Status(t.Context(), &etcdserverpb.StatusRequest{})
			if err != nil || !strings.HasPrefix(status.Version, series+".") {
				t.Fatalf("this is no etcd %s (ci/etcd/build.py %s makes one): %v %v", series, series, status, err)
			}
			lease := first.fill()
			first.addUsers()
			second := keelkv.restore(t, first.save())
			same(t, first, second, lease)
			sameUsers(t, first, second)
			// Both go on from there alike, in what is removed as well.
			for _, one := range []*member{first, second} {
				at, err := one.Put(t.Context(), "key/050", "on")
				_, err2 := one.Delete(t.Context(), "key/", clientv3.WithPrefix())
				_, err3 := one.Put(t.Context(), "after", "3")
				_, err4 := one.Compact(t.Context(), at.Header.Revision, clientv3.WithCompactPhysical())
				if err := errors.Join(err, err2, err3, err4); err != nil {
					t.Fatal(err)
				}
			}
			same(t, first, second, lease)
			// What was theirs once is etcd 3.7's as well.
			third := etcd.restore(t, second.save())
			same(t, second, third, lease)
			sameUsers(t, second, third)
			t.Logf("etcd %s", status.Version)
		})
	}
}
