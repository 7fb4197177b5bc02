/* A program in C, which is also one in C++, with a member inside. The last line counts the checks.

     smoke DIRECTORY          every check, with data in DIRECTORY, which must be empty
     smoke --alone DIRECTORY  all but those that fork
     smoke --leave DIRECTORY  ends with a member running */

#include <keelkv.h>
/* A second time does nothing. */
#include <keelkv.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int passed, failed;

static void check(int holds, const char *what, int line) {
    if (holds) {
        passed++;
    } else {
        failed++;
        printf("smoke.c:%d: %s\n", line, what);
    }
}

#define CHECK(holds) check((holds) ? 1 : 0, #holds, __LINE__)

static const uint8_t *bytes(const char *text) {
    return (const uint8_t *)text;
}

/* Frees the error; whether it has this number and these words in it. */
static int is_error(keelkv_error *error, int32_t number, const char *words) {
    int is = error && keelkv_error_code(error) == number && strstr(keelkv_error_message(error), words);
    if (!is) {
        printf("  error %d: %s\n", (int)keelkv_error_code(error), keelkv_error_message(error));
    }
    keelkv_error_free(error);
    return is;
}

/* A member with its data in `directory`, or in memory. Without it nothing else makes sense. */
static keelkv_node *start(const char *directory) {
    keelkv_node *node = NULL;
    keelkv_error *error = NULL;
    keelkv_options *options = keelkv_options_new();
    CHECK(keelkv_options_set(options, "name", "smoke", &error) == 0);
    CHECK(keelkv_options_set(options, "data-dir", directory, &error) == 0);
    if (keelkv_node_start(options, &node, &error) != 0) {
        printf("no start: %s\n", keelkv_error_message(error));
        exit(1);
    }
    keelkv_options_free(options);
    return node;
}

static int64_t put(const keelkv_node *node, const char *key, const char *value) {
    int64_t revision = 0;
    CHECK(keelkv_node_put(node, bytes(key), strlen(key), bytes(value), strlen(value), &revision, NULL) == 0);
    return revision;
}

/* Whether the key has this value; NULL for "is not there". */
static int has(const keelkv_node *node, const char *key, const char *value) {
    keelkv_buffer found = {NULL, 0};
    int64_t changed = -1;
    CHECK(keelkv_node_get(node, bytes(key), strlen(key), &found, &changed, NULL) == 0);
    int same = value ? found.data && found.len == strlen(value) && memcmp(found.data, value, found.len) == 0 && changed > 1
                     : !found.data && found.len == 0 && changed == 0;
    keelkv_buffer_free(&found);
    keelkv_buffer_free(&found);
    return same && !found.data;
}

static void uses(keelkv_node *node, const char *before) {
    keelkv_watch *watch = NULL;
    keelkv_events *events = NULL;
    CHECK(has(node, "k", before));
    int64_t revision = put(node, "k", "one");
    CHECK(revision > 1 && has(node, "k", "one"));
    CHECK(put(node, "empty", "") == revision + 1 && has(node, "empty", ""));

    /* Everything from "k" on, from what was just written: the past comes first. */
    CHECK(keelkv_node_watch(node, bytes("k"), 1, bytes("\0"), 1, revision, &watch, NULL) == 0);
    CHECK(keelkv_watch_next(watch, 30000, &events, NULL) == 0 && events);
    const keelkv_event *event = keelkv_events_get(events, 0);
    CHECK(keelkv_events_count(events) == 1 && !keelkv_events_get(events, 1));
    CHECK(event && event->kind == KEELKV_EVENT_PUT && event->mod_revision == revision && event->lease == 0);
    CHECK(event && event->key_len == 1 && event->key[0] == 'k' && event->version >= 1);
    CHECK(event && event->value_len == 3 && memcmp(event->value, "one", 3) == 0);
    CHECK(keelkv_events_revision(events) >= revision);
    keelkv_events_free(events);

    /* Nothing more, then something. */
    events = NULL;
    CHECK(keelkv_watch_next(watch, 0, &events, NULL) == 0 && !events);
    put(node, "l", "two");
    CHECK(keelkv_watch_next(watch, -1, &events, NULL) == 0 && keelkv_events_count(events) == 1);
    keelkv_events_free(events);
    keelkv_watch_free(watch);
}

static void *waits(void *watch) {
    keelkv_events *events = NULL;
    int32_t number = keelkv_watch_next((const keelkv_watch *)watch, -1, &events, NULL);
    return (void *)(intptr_t)number;
}

static void *stops(void *node) {
    return (void *)(intptr_t)keelkv_node_stop((const keelkv_node *)node, NULL);
}

/* What waits on other threads is told when a watch is cancelled and when the member stops. */
static void ends_for_those_who_wait(void) {
    keelkv_node *node = start("");
    keelkv_watch *cancelled = NULL, *stopped = NULL;
    keelkv_events *events = NULL;
    keelkv_error *error = NULL;
    pthread_t first, second, third;
    void *number = NULL;
    CHECK(keelkv_node_watch(node, bytes("k"), 1, NULL, 0, 0, &cancelled, NULL) == 0);
    CHECK(keelkv_node_watch(node, bytes("k"), 1, NULL, 0, 0, &stopped, NULL) == 0);
    pthread_create(&first, NULL, waits, cancelled);
    pthread_create(&second, NULL, waits, stopped);
    CHECK(keelkv_watch_cancel(cancelled, NULL) == 0);
    pthread_join(first, &number);
    CHECK((intptr_t)number == KEELKV_CODE_WATCH_CANCELED);

    pthread_create(&third, NULL, stops, node);
    CHECK(keelkv_node_stop(node, NULL) == 0);
    pthread_join(third, &number);
    CHECK((intptr_t)number == 0);
    pthread_join(second, &number);
    CHECK((intptr_t)number == KEELKV_CODE_STOPPED);

    CHECK(keelkv_node_stop(node, NULL) == 0);
    CHECK(keelkv_watch_next(stopped, -1, &events, &error) == KEELKV_CODE_STOPPED && !events);
    CHECK(is_error(error, KEELKV_CODE_STOPPED, "etcdserver: server stopped"));
    CHECK(keelkv_node_put(node, bytes("k"), 1, bytes("v"), 1, NULL, &error) == KEELKV_CODE_STOPPED);
    CHECK(is_error(error, KEELKV_CODE_STOPPED, "etcdserver: server stopped"));
    keelkv_node_free(node);
    /* A watch outlives its member. */
    CHECK(keelkv_watch_cancel(stopped, NULL) == 0);
    keelkv_watch_free(stopped);
    keelkv_watch_free(cancelled);
}

static void misuse(const char *directory) {
    keelkv_node *node = start(directory), *none = NULL;
    keelkv_watch *watch = NULL;
    keelkv_events *events = NULL;
    keelkv_options *options = keelkv_options_new();
    keelkv_error *error = NULL;
    keelkv_buffer value = {NULL, 7};
    int64_t revision = 7;
    const int32_t refused = KEELKV_CODE_BAD_REQUEST;

    CHECK(keelkv_options_set(options, "colour", "red", &error) == refused);
    CHECK(is_error(error, refused, "there is no option \"colour\": use one of these"));
    CHECK(keelkv_options_set(options, "name", "\xff", &error) == refused);
    CHECK(is_error(error, refused, "value is not UTF-8"));
    CHECK(keelkv_options_set(options, NULL, "x", &error) == refused && is_error(error, refused, "name is NULL"));
    CHECK(keelkv_options_set(NULL, "name", "x", &error) == refused && is_error(error, refused, "options is NULL"));
    CHECK(keelkv_options_set(options, "name", "x", NULL) == 0);
    CHECK(keelkv_node_start(options, NULL, &error) == refused && is_error(error, refused, "node is NULL"));

    CHECK(keelkv_node_put(NULL, bytes("k"), 1, NULL, 0, &revision, &error) == refused);
    CHECK(is_error(error, refused, "node is NULL") && revision == 7);
    CHECK(keelkv_node_put(node, NULL, 3, NULL, 0, &revision, &error) == refused && revision == 7);
    CHECK(is_error(error, refused, "key is NULL, but its length is 3"));
    CHECK(keelkv_node_put(node, bytes("k"), 1, bytes("v"), SIZE_MAX, &revision, NULL) == refused && revision == 7);
    CHECK(keelkv_node_put(node, NULL, 0, NULL, 0, &revision, &error) == KEELKV_CODE_EMPTY_KEY);
    CHECK(is_error(error, KEELKV_CODE_EMPTY_KEY, "etcdserver: key is not provided"));
    CHECK(keelkv_node_get(node, bytes("k"), 1, NULL, NULL, &error) == refused && is_error(error, refused, "value is NULL"));
    CHECK(keelkv_node_get(node, NULL, 0, &value, NULL, NULL) == KEELKV_CODE_EMPTY_KEY && value.len == 7);
    CHECK(keelkv_node_watch(node, bytes("b"), 1, bytes("a"), 1, 0, &watch, &error) == refused && !watch);
    CHECK(is_error(error, refused, "watcher range is empty"));
    CHECK(keelkv_node_watch(node, bytes("b"), 1, NULL, 0, 0, NULL, &error) == refused);
    CHECK(is_error(error, refused, "watch is NULL"));
    CHECK(keelkv_watch_next(NULL, 0, &events, &error) == refused && is_error(error, refused, "watch is NULL"));
    CHECK(keelkv_watch_cancel(NULL, NULL) == refused && keelkv_node_stop(NULL, NULL) == refused);

    /* A directory has one member. */
    CHECK(keelkv_options_set(options, "data-dir", directory, NULL) == 0);
    CHECK(keelkv_node_start(options, &none, &error) == KEELKV_CODE_NOT_STARTED && !none);
    CHECK(is_error(error, KEELKV_CODE_NOT_STARTED, "in use by another member, in this process or another one"));

    CHECK(!keelkv_code_may_have_been_done(KEELKV_CODE_NOT_STARTED) && !keelkv_code_may_have_been_done(0));
    CHECK(keelkv_code_may_have_been_done(KEELKV_CODE_TIMEOUT) == 1);

    /* NULL may be freed and asked. */
    keelkv_node_free(NULL);
    keelkv_watch_free(NULL);
    keelkv_events_free(NULL);
    keelkv_options_free(NULL);
    keelkv_error_free(NULL);
    keelkv_buffer_free(NULL);
    CHECK(keelkv_error_code(NULL) == 0 && keelkv_error_message(NULL)[0] == 0);
    CHECK(keelkv_events_count(NULL) == 0 && keelkv_events_revision(NULL) == 0 && !keelkv_events_get(NULL, 0));
    keelkv_options_free(options);
    /* Frees a member that runs. */
    keelkv_node_free(node);
}

static int writing;
static pthread_mutex_t writing_lock = PTHREAD_MUTEX_INITIALIZER;

static int is_writing(int change) {
    pthread_mutex_lock(&writing_lock);
    writing += change;
    int now = writing;
    pthread_mutex_unlock(&writing_lock);
    return now;
}

static void *writes(void *node) {
    while (is_writing(0)) {
        keelkv_node_put((const keelkv_node *)node, bytes("k"), 1, bytes("v"), 1, NULL, NULL);
    }
    return NULL;
}

/* Nor does it hang when it frees what other threads of its parent were using. */
static void forks_while_another_writes(void) {
    enum { WATCHES = 20, FORKS = 100 };
    keelkv_node *node = start("");
    keelkv_watch *watches[WATCHES];
    pthread_t writer;
    for (int i = 0; i < WATCHES; i++) {
        CHECK(keelkv_node_watch(node, bytes("k"), 1, NULL, 0, 0, &watches[i], NULL) == 0);
    }
    is_writing(1);
    pthread_create(&writer, NULL, writes, node);
    int ended = 0;
    /* One that hangs is enough. */
    for (int i = 0; i < FORKS && ended == i; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(30);
            keelkv_watch_cancel(watches[0], NULL);
            for (int each = 0; each < WATCHES; each++) {
                keelkv_watch_free(watches[each]);
            }
            keelkv_node_free(node);
            _exit(0);
        }
        int status = -1;
        ended += waitpid(child, &status, 0) == child && status == 0;
    }
    CHECK(ended == FORKS);
    is_writing(-1);
    pthread_join(writer, NULL);
    for (int i = 0; i < WATCHES; i++) {
        keelkv_events *events = NULL;
        CHECK(keelkv_watch_next(watches[i], 30000, &events, NULL) == 0 && events);
        keelkv_events_free(events);
        keelkv_watch_free(watches[i]);
    }
    keelkv_node_free(node);
}

/* A directory is free after a stop, though a copy of the process lives on with the same open files. */
static void forks_and_stops(const char *directory) {
    keelkv_node *node = start(directory);
    int ends[2];
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        char none;
        close(ends[1]);
        /* Until the parent closes it. */
        _exit(read(ends[0], &none, 1) == 0 ? 0 : 1);
    }
    close(ends[0]);
    CHECK(keelkv_node_stop(node, NULL) == 0);
    keelkv_node_free(node);
    keelkv_node_free(start(directory));
    close(ends[1]);
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* A copy of the process has none of the member's threads: calls are refused there, and do not hang. */
static void forks(void) {
    keelkv_node *node = start("");
    pid_t child = fork();
    if (child == 0) {
        keelkv_error *error = NULL;
        int told = keelkv_node_put(node, bytes("k"), 1, NULL, 0, NULL, &error) == KEELKV_CODE_BAD_REQUEST &&
                   is_error(error, KEELKV_CODE_BAD_REQUEST, "after the fork");
        keelkv_node_free(node);
        _exit(told ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    put(node, "k", "still here");
    keelkv_node_free(node);
}

int main(int count, char **words) {
    const char *how = count == 3 ? words[1] : "";
    const char *directory = words[count - 1];
    if (strcmp(how, "--leave") == 0) {
        put(start(directory), "left", "behind");
        return failed ? 1 : 0;
    }
    CHECK(strchr(keelkv_version(), '.') != NULL);
    keelkv_node *node = start("");
    uses(node, NULL);
    keelkv_node_free(node);

    node = start(directory);
    uses(node, NULL);
    CHECK(keelkv_node_stop(node, NULL) == 0);
    keelkv_node_free(node);
    node = start(directory);
    uses(node, "one");
    keelkv_node_free(node);

    ends_for_those_who_wait();
    misuse(directory);
    if (strcmp(how, "--alone") != 0) {
        forks();
        forks_while_another_writes();
        forks_and_stops(directory);
    }
    printf("%d checks, %d of them failed\n", passed + failed, failed);
    return failed ? 1 : 0;
}
