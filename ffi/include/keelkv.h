/* keelkv: a member of a replicated key-value store, inside your program.

   Made by `cargo run -p keelkv-header` from ffi/src. Do not edit.

   To build the libraries, and a program with one of them (ffi/README.md has one):

     cargo build --profile library -p keelkv-ffi
     cc first.c -Iffi/include -Ltarget/library -lkeelkv -Wl,-rpath,$PWD/target/library -o first
     cc first.c -Iffi/include target/library/libkeelkv.a -pthread -lstdc++ -lm -ldl -o first

   Rules that hold for every function:

   - It returns 0, or the number of what went wrong (KEELKV_CODE_*). Then, and only then, the error itself is at the
     last argument, unless that is NULL: free it with keelkv_error_free. Nothing else is written on failure.
   - What you are given is yours: free it with the function named after it. All of these take NULL. What you pass is
     copied during the call, and stays yours.
   - Keys and values are bytes with a length; they may hold zeros. A NULL pointer with a length of 0 is no bytes.
   - Each type says which threads may use it. Freeing is for when nobody else is in a call with the thing.
   - A member belongs to the process that started it. After a fork, calls in the child are refused; start another there.
     What the child frees is forgotten, and nothing to the parent.
   - A program may end with a member running: what was acknowledged is on disk. Do not unload the library.
   - The library installs no signal handler, logger or allocator, and does not end the process. */


#ifndef KEELKV_H
#define KEELKV_H

#include <stddef.h>
#include <stdint.h>

/* What can go wrong. A number never changes its meaning; new ones are added. */
#define KEELKV_CODE_EMPTY_KEY 1 /* etcdserver: key is not provided */
#define KEELKV_CODE_KEY_NOT_FOUND 2 /* etcdserver: key not found */
#define KEELKV_CODE_VALUE_PROVIDED 3 /* etcdserver: value is provided */
#define KEELKV_CODE_LEASE_PROVIDED 4 /* etcdserver: lease is provided */
#define KEELKV_CODE_TOO_MANY_OPS 5 /* etcdserver: too many operations in txn request */
#define KEELKV_CODE_DUPLICATE_KEY 6 /* etcdserver: duplicate key given in txn request */
#define KEELKV_CODE_INVALID_CLIENT_API_VERSION 7 /* etcdserver: invalid client api version */
#define KEELKV_CODE_INVALID_SORT_OPTION 8 /* etcdserver: invalid sort option */
#define KEELKV_CODE_COMPACTED 9 /* etcdserver: mvcc: required revision has been compacted */
#define KEELKV_CODE_FUTURE_REV 10 /* etcdserver: mvcc: required revision is a future revision */
#define KEELKV_CODE_NO_SPACE 11 /* etcdserver: mvcc: database space exceeded */
#define KEELKV_CODE_LEASE_NOT_FOUND 12 /* etcdserver: requested lease not found */
#define KEELKV_CODE_LEASE_EXIST 13 /* etcdserver: lease already exists */
#define KEELKV_CODE_LEASE_TTL_TOO_LARGE 14 /* etcdserver: too large lease TTL */
#define KEELKV_CODE_WATCH_CANCELED 15 /* etcdserver: watch canceled */
#define KEELKV_CODE_MEMBER_EXIST 16 /* etcdserver: member ID already exist */
#define KEELKV_CODE_PEER_URL_EXIST 17 /* etcdserver: Peer URLs already exists */
#define KEELKV_CODE_MEMBER_NOT_ENOUGH_STARTED 18 /* etcdserver: re-configuration failed due to not enough started members */
#define KEELKV_CODE_MEMBER_BAD_URLS 19 /* etcdserver: given member URLs are invalid */
#define KEELKV_CODE_MEMBER_NOT_FOUND 20 /* etcdserver: member not found */
#define KEELKV_CODE_MEMBER_NOT_LEARNER 21 /* etcdserver: can only promote a learner member */
#define KEELKV_CODE_LEARNER_NOT_READY 22 /* etcdserver: can only promote a learner member which is in sync with leader */
#define KEELKV_CODE_TOO_MANY_LEARNERS 23 /* etcdserver: too many learner members in cluster */
#define KEELKV_CODE_CLUSTER_ID_MISMATCH 24 /* etcdserver: cluster ID mismatch */
#define KEELKV_CODE_REQUEST_TOO_LARGE 25 /* etcdserver: request is too large */
#define KEELKV_CODE_REQUEST_TOO_MANY_REQUESTS 26 /* etcdserver: too many requests */
#define KEELKV_CODE_ROOT_USER_NOT_EXIST 27 /* etcdserver: root user does not exist */
#define KEELKV_CODE_ROOT_ROLE_NOT_EXIST 28 /* etcdserver: root user does not have root role */
#define KEELKV_CODE_USER_ALREADY_EXIST 29 /* etcdserver: user name already exists */
#define KEELKV_CODE_USER_EMPTY 30 /* etcdserver: user name is empty */
#define KEELKV_CODE_USER_NOT_FOUND 31 /* etcdserver: user name not found */
#define KEELKV_CODE_ROLE_ALREADY_EXIST 32 /* etcdserver: role name already exists */
#define KEELKV_CODE_ROLE_NOT_FOUND 33 /* etcdserver: role name not found */
#define KEELKV_CODE_ROLE_EMPTY 34 /* etcdserver: role name is empty */
#define KEELKV_CODE_AUTH_FAILED 35 /* etcdserver: authentication failed, invalid user ID or password */
#define KEELKV_CODE_PERMISSION_NOT_GIVEN 36 /* etcdserver: permission not given */
#define KEELKV_CODE_PERMISSION_DENIED 37 /* etcdserver: permission denied */
#define KEELKV_CODE_ROLE_NOT_GRANTED 38 /* etcdserver: role is not granted to the user */
#define KEELKV_CODE_PERMISSION_NOT_GRANTED 39 /* etcdserver: permission is not granted to the role */
#define KEELKV_CODE_AUTH_NOT_ENABLED 40 /* etcdserver: authentication is not enabled */
#define KEELKV_CODE_INVALID_AUTH_TOKEN 41 /* etcdserver: invalid auth token */
#define KEELKV_CODE_INVALID_AUTH_MGMT 42 /* etcdserver: invalid auth management */
#define KEELKV_CODE_AUTH_OLD_REVISION 43 /* etcdserver: revision of auth store is old */
#define KEELKV_CODE_NO_LEADER 44 /* etcdserver: no leader */
#define KEELKV_CODE_NOT_LEADER 45 /* etcdserver: not leader */
#define KEELKV_CODE_LEADER_CHANGED 46 /* etcdserver: leader changed */
#define KEELKV_CODE_NOT_CAPABLE 47 /* etcdserver: not capable */
#define KEELKV_CODE_STOPPED 48 /* etcdserver: server stopped */
#define KEELKV_CODE_TIMEOUT 49 /* etcdserver: request timed out */
#define KEELKV_CODE_TIMEOUT_DUE_TO_LEADER_FAIL 50 /* etcdserver: request timed out, possibly due to previous leader failure */
#define KEELKV_CODE_TIMEOUT_DUE_TO_CONNECTION_LOST 51 /* etcdserver: request timed out, possibly due to connection lost */
#define KEELKV_CODE_TIMEOUT_WAIT_APPLIED_INDEX 52 /* etcdserver: request timed out, waiting for the applied index took too long */
#define KEELKV_CODE_UNHEALTHY 53 /* etcdserver: unhealthy cluster */
#define KEELKV_CODE_CORRUPT 54 /* etcdserver: corrupt cluster */
#define KEELKV_CODE_NOT_SUPPORTED_FOR_LEARNER 55 /* etcdserver: rpc not supported for learner */
#define KEELKV_CODE_BAD_LEADER_TRANSFEREE 56 /* etcdserver: bad leader transferee */
#define KEELKV_CODE_WRONG_DOWNGRADE_VERSION_FORMAT 57 /* etcdserver: wrong downgrade target version format */
#define KEELKV_CODE_INVALID_DOWNGRADE_TARGET_VERSION 58 /* etcdserver: invalid downgrade target version */
#define KEELKV_CODE_CLUSTER_VERSION_UNAVAILABLE 59 /* etcdserver: cluster version not found during downgrade */
#define KEELKV_CODE_DOWNGRADE_IN_PROCESS 60 /* etcdserver: cluster has a downgrade job in progress */
#define KEELKV_CODE_NO_INFLIGHT_DOWNGRADE 61 /* etcdserver: no inflight downgrade job */
#define KEELKV_CODE_CANCELED 62 /* etcdserver: request canceled */
#define KEELKV_CODE_DEADLINE_EXCEEDED 63 /* etcdserver: context deadline exceeded */
#define KEELKV_CODE_UNMAPPED 900 /* unknown error */
#define KEELKV_CODE_UNIMPLEMENTED 901 /* not implemented */
#define KEELKV_CODE_BAD_REQUEST 902 /* invalid request */
#define KEELKV_CODE_INTERNAL 903 /* internal error */
#define KEELKV_CODE_NOT_STARTED 904 /* the member did not start */
#define KEELKV_CODE_OVERLOADED 905 /* etcdserver: too many requests */


/**
 * The key was written.
 */
#define KEELKV_EVENT_PUT 0

/**
 * The key was deleted, or its lease ran out.
 */
#define KEELKV_EVENT_DELETE 1

/**
 * Why a call failed. Yours to free. May be read by many threads.
 */
typedef struct keelkv_error keelkv_error;

/**
 * Events of one or more whole revisions. Yours to free. May be read by many threads.
 */
typedef struct keelkv_events keelkv_events;

/**
 * A member that runs in this process, on threads of its own. Yours to free. Any thread may use it at any time.
 */
typedef struct keelkv_node keelkv_node;

/**
 * What a member is told at its start. Yours to free. For one thread at a time.
 */
typedef struct keelkv_options keelkv_options;

/**
 * A watch. Yours to free. Any thread may use it at any time; what one gets from it another does not.
 */
typedef struct keelkv_watch keelkv_watch;

/**
 * Bytes that belong to you: free them with keelkv_buffer_free. `data` is NULL if there is nothing at all, and not NULL
 * if there is something of length 0.
 */
typedef struct keelkv_buffer {
    /**
     * The first of them.
     */
    uint8_t *data;
    /**
     * How many.
     */
    size_t len;
} keelkv_buffer;

/**
 * One change. Later versions may append fields. It belongs to the events that it is part of, and so does what it
 * points to.
 */
typedef struct keelkv_event {
    /**
     * KEELKV_EVENT_PUT or KEELKV_EVENT_DELETE.
     */
    int32_t kind;
    /**
     * The key, not NULL.
     */
    const uint8_t *key;
    /**
     * Its length in bytes.
     */
    size_t key_len;
    /**
     * The new value, not NULL; empty for a deletion.
     */
    const uint8_t *value;
    /**
     * Its length in bytes.
     */
    size_t value_len;
    /**
     * The revision that made the key; 0 for a deletion.
     */
    int64_t create_revision;
    /**
     * The revision of this change.
     */
    int64_t mod_revision;
    /**
     * How many changes the key has seen since it was made, this one included; 0 for a deletion.
     */
    int64_t version;
    /**
     * The lease that the key hangs on, or 0.
     */
    int64_t lease;
} keelkv_event;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Frees the bytes and empties the buffer. NULL is nothing, and an empty buffer may be freed again.
 *
 * What must hold:
 * `buffer` is NULL, or zeroed, or was filled by this library.
 */
void keelkv_buffer_free(struct keelkv_buffer *buffer);

/**
 * The number of the failure: one of KEELKV_CODE_*, which never change. 0 for NULL.
 *
 * What must hold:
 * `error` is NULL or not freed yet.
 */
int32_t keelkv_error_code(const struct keelkv_error *error);

/**
 * One line that says what went wrong and, unless the words are etcd's, what to do. It is good until the error is freed.
 * Empty for NULL.
 *
 * What must hold:
 * `error` is NULL or not freed yet.
 */
const char *keelkv_error_message(const struct keelkv_error *error);

/**
 * Whether a call that failed with this number may have been done all the same, or may still be: 1 if so, and 0 if nothing
 * was done. Read before you ask again.
 */
int32_t keelkv_code_may_have_been_done(int32_t code);

/**
 * Frees an error. NULL is nothing.
 *
 * What must hold:
 * `error` is NULL, or it is not freed yet and used no more.
 */
void keelkv_error_free(struct keelkv_error *error);

/**
 * How many events there are: at least one. 0 for NULL.
 *
 * What must hold:
 * `events` is NULL or not freed yet.
 */
size_t keelkv_events_count(const struct keelkv_events *events);

/**
 * The store's revision when these events were sent. 0 for NULL.
 *
 * What must hold:
 * `events` is NULL or not freed yet.
 */
int64_t keelkv_events_revision(const struct keelkv_events *events);

/**
 * One event, counted from 0, in the order of the changes. It is good until the events are freed. NULL if there are not
 * that many.
 *
 * What must hold:
 * `events` is NULL or not freed yet.
 */
const struct keelkv_event *keelkv_events_get(const struct keelkv_events *events,
                                             size_t index);

/**
 * Frees events. NULL is nothing.
 *
 * What must hold:
 * `events` is NULL, or it is not freed yet and used no more.
 */
void keelkv_events_free(struct keelkv_events *events);

/**
 * Starts a member and waits until it serves. The options may be NULL, and are not needed afterwards.
 *
 * Returns 0 and the member at `node`, or the number of an error, which is then also at `error` unless that is NULL.
 *
 * What must hold:
 * `options` is NULL or not freed yet; `node` and `error` may be written through.
 */
int32_t keelkv_node_start(const struct keelkv_options *options,
                          struct keelkv_node **node,
                          struct keelkv_error **error);

/**
 * Writes a key, and waits until that is durable. The bytes are copied.
 *
 * Returns 0 and the key's new revision at `revision` unless that is NULL, or the number of an error, which is then also
 * at `error` unless that is NULL. Whether it may have been written all the same keelkv_code_may_have_been_done says.
 *
 * What must hold:
 * `node` is not freed yet; `key` and `value` have as many bytes as is said; `revision` and `error` may be written
 * through.
 */
int32_t keelkv_node_put(const struct keelkv_node *node,
                        const uint8_t *key,
                        size_t key_len,
                        const uint8_t *value,
                        size_t value_len,
                        int64_t *revision,
                        struct keelkv_error **error);

/**
 * Reads a key, with everything that was acknowledged before.
 *
 * Returns 0 and the value at `value`, which you free; its `data` is NULL if the key is not there. The revision of its
 * last change goes to `mod_revision` unless that is NULL, 0 if the key is not there. Otherwise returns the number of an
 * error, which is then also at `error` unless that is NULL.
 *
 * What must hold:
 * `node` is not freed yet; `key` has as many bytes as is said; `value`, `mod_revision` and `error` may be written
 * through.
 */
int32_t keelkv_node_get(const struct keelkv_node *node,
                        const uint8_t *key,
                        size_t key_len,
                        struct keelkv_buffer *value,
                        int64_t *mod_revision,
                        struct keelkv_error **error);

/**
 * Stops the member: what is on its way is answered, those who wait get KEELKV_CODE_STOPPED, and its directory is free
 * afterwards. A second time does nothing. Free it all the same.
 *
 * Returns 0, or the number of an error, which is then also at `error` unless that is NULL.
 *
 * What must hold:
 * `node` is not freed yet; `error` may be written through.
 */
int32_t keelkv_node_stop(const struct keelkv_node *node,
                         struct keelkv_error **error);

/**
 * Frees a member; stops it first if it runs. NULL is nothing. Its watches may be freed before or after it.
 *
 * What must hold:
 * `node` is NULL, or it is not freed yet, nobody is in a call with it, and it is used no more.
 */
void keelkv_node_free(struct keelkv_node *node);

/**
 * The version of this library, as "1.2.3".
 */
const char *keelkv_version(void);

/**
 * Options that say nothing: a member called "default", with its data in memory.
 */
struct keelkv_options *keelkv_options_new(void);

/**
 * Sets one option. Both texts are copied. There are:
 *
 * - "name": what the member calls itself.
 * - "data-dir": where its data is kept, made if it is missing. Empty: in memory, gone with the member.
 *
 * Returns 0, or the number of an error, which is then also at `error` unless that is NULL.
 *
 * What must hold:
 * `options` is not freed yet; `name` and `value` end with a zero byte.
 */
int32_t keelkv_options_set(struct keelkv_options *options,
                           const char *name,
                           const char *value,
                           struct keelkv_error **error);

/**
 * Frees options. NULL is nothing.
 *
 * What must hold:
 * `options` is NULL, or it is not freed yet and used no more.
 */
void keelkv_options_free(struct keelkv_options *options);

/**
 * Watches the keys from `key` up to, and without, `range_end`: the key alone if that is empty, all keys from `key` on
 * if it is one zero byte. From `start_revision` on, or from now on if it is 0. The bytes are copied.
 *
 * Returns 0 and the watch at `watch`, or the number of an error, which is then also at `error` unless that is NULL.
 *
 * What must hold:
 * `node` is not freed yet; `key` and `range_end` have as many bytes as is said; `watch` and `error` may be written
 * through.
 */
int32_t keelkv_node_watch(const struct keelkv_node *node,
                          const uint8_t *key,
                          size_t key_len,
                          const uint8_t *range_end,
                          size_t range_end_len,
                          int64_t start_revision,
                          struct keelkv_watch **watch,
                          struct keelkv_error **error);

/**
 * Waits for events, at most `timeout_ms` milliseconds; for ever if that is negative.
 *
 * Returns 0 and the events at `events`, which you free, or NULL there if the time was over; call again. Otherwise
 * returns the number of an error, which is then also at `error` unless that is NULL:
 *
 * - KEELKV_CODE_WATCH_CANCELED, KEELKV_CODE_STOPPED: by keelkv_watch_cancel, or with its member.
 * - KEELKV_CODE_COMPACTED: what it has not seen yet is not kept any more.
 * - KEELKV_CODE_INTERNAL: a fault of this library.
 * - KEELKV_CODE_BAD_REQUEST: an argument is NULL, or this process was forked from the member's.
 *
 * After all but the last the watch has ended.
 *
 * What must hold:
 * `watch` is not freed yet; `events` and `error` may be written through.
 */
int32_t keelkv_watch_next(const struct keelkv_watch *watch,
                          int64_t timeout_ms,
                          struct keelkv_events **events,
                          struct keelkv_error **error);

/**
 * Ends a watch: whoever waits for it, and whoever asks later, gets KEELKV_CODE_WATCH_CANCELED. Free it all the same. In
 * a process that was forked from the member's it does nothing.
 *
 * Returns 0, or the number of an error, which is then also at `error` unless that is NULL.
 *
 * What must hold:
 * `watch` is not freed yet; `error` may be written through.
 */
int32_t keelkv_watch_cancel(const struct keelkv_watch *watch,
                            struct keelkv_error **error);

/**
 * Frees a watch. NULL is nothing. Its member may have been freed before.
 *
 * What must hold:
 * `watch` is NULL, or it is not freed yet, nobody is in a call with it, and it is used no more.
 */
void keelkv_watch_free(struct keelkv_watch *watch);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KEELKV_H */
