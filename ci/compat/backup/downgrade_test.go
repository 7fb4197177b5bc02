package backup

import (
	"fmt"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Both answer each step of a downgrade alike. What differs is that keelkv stays what it is: only its backups and what it
// says of the cluster are of the older version.
func TestDowngrades(t *testing.T) {
	var said [2][]string
	for n, one := range []*member{etcd.start(t), keelkv.start(t)} {
		maintenance := etcdserverpb.NewMaintenanceClient(one.ActiveConnection())
		step := func(action etcdserverpb.DowngradeRequest_DowngradeAction, version string) {
			request := &etcdserverpb.DowngradeRequest{Action: action, Version: version}
			answer, err := maintenance.Downgrade(t.Context(), request)
			said[n] = append(said[n], fmt.Sprint(action, version, answer.GetVersion(), err))
		}
		status := func() *etcdserverpb.StatusResponse {
			answer, err := maintenance.Status(t.Context(), &etcdserverpb.StatusRequest{})
			if err != nil {
				t.Fatal(err)
			}
			return answer
		}
		versions := []string{"", "3", "3.5", "3.6", "3.6.4", "3.7", "3.8", "v3.6", "3.x"}
		every := func() {
			info := status().DowngradeInfo
			said[n] = append(said[n], fmt.Sprint(info.GetEnabled(), info.GetTargetVersion()))
			for _, version := range versions {
				step(etcdserverpb.DowngradeRequest_VALIDATE, version)
			}
		}
		every()
		step(etcdserverpb.DowngradeRequest_CANCEL, "")
		step(etcdserverpb.DowngradeRequest_ENABLE, "3.5")
		step(etcdserverpb.DowngradeRequest_ENABLE, "no version")
		// Its answer names the cluster's version, which may or may not have changed by then.
		enabled := &etcdserverpb.DowngradeRequest{Action: etcdserverpb.DowngradeRequest_ENABLE, Version: "3.6.2"}
		if _, err := maintenance.Downgrade(t.Context(), enabled); err != nil {
			t.Fatal(err)
		}
		within(t, 20*time.Second, "the older version", func() bool { return status().StorageVersion == "3.6.0" })
		every()
		step(etcdserverpb.DowngradeRequest_ENABLE, "3.5")
		var of struct{ Version string }
		etcdutl(t, &of, "snapshot", "status", one.save())
		said[n] = append(said[n], of.Version)
		if _, err := maintenance.Downgrade(t.Context(), &etcdserverpb.DowngradeRequest{Action: etcdserverpb.DowngradeRequest_CANCEL}); err != nil {
			t.Fatal(err)
		}
		within(t, 20*time.Second, "its own version", func() bool { return status().StorageVersion == "3.7.0" })
		every()
	}
	for n := range said[0] {
		if said[0][n] != said[1][n] {
			t.Errorf("etcd says %q\nkeelkv %q", said[0][n], said[1][n])
		}
	}
}
