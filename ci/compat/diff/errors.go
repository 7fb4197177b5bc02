package diff

// ReachableErrors are the errors of etcd's table that the covered methods of one healthy member can give.
var ReachableErrors = []failure{
	{"InvalidArgument", "etcdserver: key is not provided"},
	{"InvalidArgument", "etcdserver: key not found"},
	{"InvalidArgument", "etcdserver: value is provided"},
	{"InvalidArgument", "etcdserver: lease is provided"},
	{"InvalidArgument", "etcdserver: too many operations in txn request"},
	{"InvalidArgument", "etcdserver: duplicate key given in txn request"},
	{"InvalidArgument", "etcdserver: invalid sort option"},
	{"OutOfRange", "etcdserver: mvcc: required revision has been compacted"},
	{"OutOfRange", "etcdserver: mvcc: required revision is a future revision"},
	{"ResourceExhausted", "etcdserver: mvcc: database space exceeded"},
	{"NotFound", "etcdserver: requested lease not found"},
	{"FailedPrecondition", "etcdserver: lease already exists"},
	{"OutOfRange", "etcdserver: too large lease TTL"},
	{"InvalidArgument", "etcdserver: request is too large"},
	{"DataLoss", "etcdserver: corrupt cluster"},
	{"Unimplemented", "RangeStream does not support custom sort orders"},
	{"Unimplemented", "RangeStream does not support revision filters"},
	// Through raw requests: numbers instead of names.
	{"raw", "3 etcdserver: invalid client api version"},
	{"raw", "8 grpc: received message larger than max (2097153 vs. 2097152)"},
	{"raw", "12 unknown method Nothing for service etcdserverpb.KV"},
	{"raw", "12 unknown service etcdserverpb.Nothing"},
}

// Unreachable are fields, values and errors that cannot occur on both sides here, and why.
var Unreachable = map[string]string{
	"request enum etcdserverpb.AlarmRequest.action = unknown": "etcd 3.7 ends with a nil pointer",
	"response enum etcdserverpb.AlarmMember.alarm = NONE":     "such an alarm cannot be raised",
	"response field etcdserverpb.DefragmentResponse.header":   "etcd leaves it out",
	"response field etcdserverpb.LeaseGrantResponse.error":    "no server sets it",
	"response field etcdserverpb.StatusResponse.isLearner":    "one voter",
	"response field etcdserverpb.Member.isLearner":            "one voter",

	"response field etcdserverpb.DowngradeInfo.enabled":       "no downgrade runs",
	"response field etcdserverpb.DowngradeInfo.targetVersion": "no downgrade runs",
}

// UnreachableErrors are the rows of etcd's error table that are not in ReachableErrors, and why.
var UnreachableErrors = map[string]string{
	"etcdserver: watch canceled":      "the server ends a stream only with itself or with its leader",
	"etcdserver: too many requests":   "needs 5000 entries committed and not applied",
	"etcdserver: no leader":           "one healthy member leads",
	"etcdserver: not leader":          "one healthy member leads",
	"etcdserver: leader changed":      "one healthy member leads",
	"etcdserver: server stopped":      "a moment while stopping",
	"etcdserver: request timed out":   "one healthy member answers",
	"etcdserver: request canceled":    "the client's own cancel hides it",
	"etcdserver: not capable":         "one version",
	"etcdserver: unhealthy cluster":   "membership changes are not covered",
	"etcdserver: invalid auth token":  "auth is not covered",
	"etcdserver: cluster ID mismatch": "between members only",

	"etcdserver: context deadline exceeded":                                                  "the client's own deadline hides it",
	"etcdserver: rpc not supported for learner":                                              "one voter",
	"etcdserver: request timed out, possibly due to previous leader failure":                 "one healthy member answers",
	"etcdserver: request timed out, possibly due to connection lost":                         "one healthy member answers",
	"etcdserver: request timed out, waiting for the applied index took too long":             "one healthy member answers",
	"etcdserver: bad leader transferee":                                                      "MoveLeader is not covered",
	"all others of MemberAdd, MemberRemove, MemberUpdate, MemberPromote, Downgrade and Auth": "those methods are not covered",
}
