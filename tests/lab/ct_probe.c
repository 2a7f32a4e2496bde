// SPDX-License-Identifier: GPL-2.0-or-later
//
// The program inside the lab's containers. It holds the kinds of state that a migration must carry and answers
// questions about them, one line each, over TCP port 7000:
//
//   get         the counter, which a thread of its own raises and writes to /data/counter every millisecond
//   deleted     "ok" if the file that is open but has no name still holds what was written to it
//   ino PATH    the inode number of PATH
//   events      how many files the inotify watch on /data has seen appear; `touch NAME` makes one
//   N           (a number; mode sqlite) insert row N; the answer "ok N" is sent after the commit
//   count       (mode sqlite) number of rows, largest row
//   load R B    from now on, write new content to the B bytes of /data/load, R bytes per second; once
//   uring       opens an io_uring, which CRIU cannot dump: the way to a failing checkpoint
//
// Usage: ct_probe counter|inotify|sqlite
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { kPort = 7000, kClientsMax = 64, kLineMax = 256, kDeletedBytes = 256 * 1024 };

struct client {
  size_t used;
  char line[kLineMax];
};

static atomic_ullong counter;
static unsigned events;
static int deleted_fd = -1, inotify_fd = -1;
static sqlite3 *db;
static sqlite3_stmt *insert_row, *count_rows;

static void check(int is_ok, const char *what) {
  if (is_ok) return;
  perror(what);
  exit(1);
}

static unsigned char pattern_at(size_t offset) { return (unsigned char)(offset * 2654435761u >> 13); }

static void *count_for_ever(void *unused) {
  int fd = open("/data/counter", O_RDWR | O_CREAT, 0644);
  check(fd >= 0, "/data/counter");
  for (struct timespec millisecond = {0, 1000000};; nanosleep(&millisecond, NULL)) {
    char text[24];
    int length = snprintf(text, sizeof text, "%20llu\n", atomic_fetch_add(&counter, 1) + 1);
    check(pwrite(fd, text, (size_t)length, 0) == length, "/data/counter");
  }
  return unused;
}

static struct { long long bytes_per_second, bytes; } load;

static void *write_for_ever(void *unused) {
  static unsigned long long piece[8192];
  unsigned long long state = 88172645463325252ull;
  int fd = open("/data/load", O_RDWR | O_CREAT, 0644);
  struct timespec due;
  check(fd >= 0, "/data/load");
  clock_gettime(CLOCK_MONOTONIC, &due);
  for (long long at = 0;; at = (at + (long long)sizeof piece) % load.bytes) {
    for (size_t i = 0; i < sizeof piece / sizeof *piece; ++i) {
      for (int turn = 0; turn < 8; ++turn) state ^= state << 13, state ^= state >> 7, state ^= state << 17;
      piece[i] = state;
    }
    check(pwrite(fd, piece, sizeof piece, at) == sizeof piece, "/data/load");
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    due.tv_nsec += (long)(1000000000ll * (long long)sizeof piece / load.bytes_per_second);
    for (; due.tv_nsec >= 1000000000; due.tv_nsec -= 1000000000) ++due.tv_sec;
    // Who was held back does not write faster afterwards.
    if (now.tv_sec > due.tv_sec || (now.tv_sec == due.tv_sec && now.tv_nsec > due.tv_nsec + 100000000)) due = now;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
  }
  return unused;
}

static void open_deleted_file(void) {
  static unsigned char bytes[kDeletedBytes];
  for (size_t i = 0; i < sizeof bytes; ++i) bytes[i] = pattern_at(i);
  deleted_fd = open("/data/deleted", O_RDWR | O_CREAT | O_TRUNC, 0600);
  check(write(deleted_fd, bytes, sizeof bytes) == sizeof bytes, "/data/deleted");
  check(unlink("/data/deleted") == 0, "/data/deleted");
}

static int deleted_file_is_intact(void) {
  static unsigned char bytes[kDeletedBytes];
  if (pread(deleted_fd, bytes, sizeof bytes, 0) != sizeof bytes) return 0;
  for (size_t i = 0; i < sizeof bytes; ++i)
    if (bytes[i] != pattern_at(i)) return 0;
  return 1;
}

static void watch_data(void) {
  inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  check(inotify_add_watch(inotify_fd, "/data", IN_CREATE) >= 0, "inotify");
}

static void read_events(void) {
  char buffer[4096] __attribute__((aligned(8)));
  ssize_t length = read(inotify_fd, buffer, sizeof buffer);
  for (char *at = buffer; at < buffer + length; at += sizeof(struct inotify_event) + ((struct inotify_event *)at)->len)
    ++events;
}

static void open_database(void) {
  const char *prepare = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE IF NOT EXISTS t(n INTEGER);";
  check(sqlite3_open("/data/rows.db", &db) == SQLITE_OK, "/data/rows.db");
  check(sqlite3_exec(db, prepare, NULL, NULL, NULL) == SQLITE_OK, prepare);
  check(sqlite3_prepare_v2(db, "INSERT INTO t VALUES(?)", -1, &insert_row, NULL) == SQLITE_OK, "insert");
  check(sqlite3_prepare_v2(db, "SELECT count(*), max(n) FROM t", -1, &count_rows, NULL) == SQLITE_OK, "count");
}

static void answer(const char *ask, char *reply, size_t size) {
  struct stat status;
  char path[kLineMax + 8], *end;
  long long row = strtoll(ask, &end, 10);
  if (db && end != ask && !*end) {
    sqlite3_bind_int64(insert_row, 1, row);
    int is_done = sqlite3_step(insert_row) == SQLITE_DONE;
    snprintf(reply, size, is_done ? "ok %lld\n" : "error %lld\n", row);
    sqlite3_reset(insert_row);
  } else if (db && !strcmp(ask, "count")) {
    sqlite3_step(count_rows);
    snprintf(reply, size, "%lld %lld\n", sqlite3_column_int64(count_rows, 0), sqlite3_column_int64(count_rows, 1));
    sqlite3_reset(count_rows);
  } else if (!strcmp(ask, "get")) {
    snprintf(reply, size, "%llu\n", atomic_load(&counter));
  } else if (!strcmp(ask, "deleted")) {
    snprintf(reply, size, "%s\n", deleted_file_is_intact() ? "ok" : "damaged");
  } else if (!strncmp(ask, "ino ", 4)) {
    snprintf(reply, size, "%lld\n", stat(ask + 4, &status) == 0 ? (long long)status.st_ino : -1LL);
  } else if (!strncmp(ask, "touch ", 6)) {
    snprintf(path, sizeof path, "/data/%s", ask + 6);
    int fd = open(path, O_CREAT | O_WRONLY, 0644);
    snprintf(reply, size, "%s\n", fd >= 0 && close(fd) == 0 ? "ok" : "error");
  } else if (!strcmp(ask, "events")) {
    if (inotify_fd >= 0) read_events();
    snprintf(reply, size, "%u\n", events);
  } else if (sscanf(ask, "load %lld %lld", &load.bytes_per_second, &load.bytes) == 2) {
    pthread_t thread;
    snprintf(reply, size, "%s\n", pthread_create(&thread, NULL, write_for_ever, NULL) == 0 ? "ok" : "error");
  } else if (!strcmp(ask, "uring")) {
    char parameters[120] = {0};
    snprintf(reply, size, "fd %ld\n", syscall(SYS_io_uring_setup, 1, parameters));
  } else {
    snprintf(reply, size, "unknown\n");
  }
}

// Answers every whole line that has arrived. Returns 0 when the client has gone.
static int serve_client(int fd, struct client *client) {
  ssize_t got = read(fd, client->line + client->used, sizeof client->line - client->used - 1);
  if (got <= 0) return 0;
  client->used += (size_t)got;
  client->line[client->used] = '\0';
  for (char *newline; (newline = strchr(client->line, '\n'));) {
    char reply[kLineMax];
    *newline = '\0';
    answer(client->line, reply, sizeof reply);
    if (write(fd, reply, strlen(reply)) < 0) return 0;
    client->used -= (size_t)(newline + 1 - client->line);
    memmove(client->line, newline + 1, client->used + 1);
  }
  return client->used < sizeof client->line - 1;
}

static void serve_for_ever(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(kPort)};
  static struct client clients[kClientsMax];
  struct pollfd fds[kClientsMax] = {{.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .events = POLLIN}};
  int one = 1, used = 1;
  setsockopt(fds[0].fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  check(bind(fds[0].fd, (struct sockaddr *)&address, sizeof address) == 0, "bind");
  check(listen(fds[0].fd, kClientsMax) == 0, "listen");
  for (;;) {
    if (poll(fds, (nfds_t)used, -1) < 0) continue;
    for (int i = used - 1; i > 0; --i) {
      if (!fds[i].revents || serve_client(fds[i].fd, &clients[i])) continue;
      close(fds[i].fd);
      fds[i] = fds[--used];
      clients[i] = clients[used];
    }
    if (fds[0].revents && used < kClientsMax) {
      fds[used] = (struct pollfd){.fd = accept(fds[0].fd, NULL, NULL), .events = POLLIN};
      clients[used++].used = 0;
    }
  }
}

int main(int argc, char **argv) {
  const char *mode = argc == 2 ? argv[1] : "";
  pthread_t thread;
  signal(SIGPIPE, SIG_IGN);
  mkdir("/data", 0755);
  if (!strcmp(mode, "sqlite")) {
    open_database();
  } else if (!strcmp(mode, "counter") || !strcmp(mode, "inotify")) {
    check(pthread_create(&thread, NULL, count_for_ever, NULL) == 0, "pthread_create");
    open_deleted_file();
    if (!strcmp(mode, "inotify")) watch_data();
  } else {
    fprintf(stderr, "usage: ct_probe counter|inotify|sqlite\n");
    return 2;
  }
  serve_for_ever();
}
