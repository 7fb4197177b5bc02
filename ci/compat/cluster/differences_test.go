package cluster

// difference is a known one: what etcd says, what keelkv says, and why.
type difference struct {
	answers [2]string
	reason  string
}

const (
	lost     = "14 etcdserver: request timed out, possibly due to connection lost"
	deadline = "4 context deadline exceeded"

	// Nobody leads, so etcd's raft takes no proposal; its own deadline is what the caller reads.
	proposals = "etcd passes on the deadline of its proposal, keelkv says what is the matter"
	// etcd gives changes of the membership no time of their own.
	waiting = "etcd answers when its caller gives up, keelkv after its own time"
	reads   = "etcd does not say of reads what the loss of the connection did to them"
	renewed = "etcd asks no leader when it knows of none"
)

// differences by step. One that does not occur as it stands here fails the test.
var differences = map[string]difference{
	"no quorum: put":           {[2]string{deadline, lost}, proposals},
	"no quorum: compact":       {[2]string{deadline, lost}, proposals},
	"no quorum: grant":         {[2]string{deadline, lost}, proposals},
	"no quorum: revoke":        {[2]string{deadline, lost}, proposals},
	"no quorum: alarm":         {[2]string{deadline, lost}, proposals},
	"no quorum: member remove": {[2]string{"no answer", lost}, waiting},
	"no quorum: member update": {[2]string{"no answer", lost}, waiting},
	"no quorum: get":           {[2]string{"14 etcdserver: request timed out", lost}, reads},
	"no quorum: member list":   {[2]string{"14 etcdserver: request timed out", lost}, reads},
	"no quorum: time to live":  {[2]string{"14 etcdserver: no leader", "14 etcdserver: request timed out"}, renewed},
	"no quorum: keep-alive":    {[2]string{"14 etcdserver: no leader", "14 etcdserver: request timed out"}, renewed},
	"m1: put key value, without a quorum": {[2]string{
		"Error: context deadline exceeded\nexit 1", "Error: etcdserver: request timed out, possibly due to connection lost\nexit 1",
	}, proposals},
}
