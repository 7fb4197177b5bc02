package cluster

// difference is a known one: what etcd says, what keelkv says, and why.
type difference struct {
	answers [2]string
	reason  string
}

const (
	timeout  = "14 etcdserver: request timed out"
	deadline = "4 context deadline exceeded"

	// etcd puts the question through its log.
	listed = "keelkv reads the alarms behind a barrier, as it reads everything"
	// etcd gives changes of the membership no time of their own.
	waiting = "etcd answers when its caller gives up, keelkv after its own time"
)

// differences by step. One that does not occur as it stands here fails the test.
var differences = map[string]difference{
	"no quorum: alarm":         {[2]string{deadline, timeout}, listed},
	"no quorum: member remove": {[2]string{"no answer", deadline}, waiting},
	"no quorum: member update": {[2]string{"no answer", deadline}, waiting},
}
