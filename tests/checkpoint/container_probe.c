// SPDX-License-Identifier: GPL-2.0-or-later
// The program of the test container: writes a number to /ticks every millisecond, from the memory it must keep.
// "uring" opens an io_uring first, which CRIU cannot write down; "stopped" has a child that is stopped by a signal.
#include <fcntl.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void stopped_child(void) {
  if (fork() != 0) return;
  raise(SIGSTOP);
  int fd = open("/continued", O_WRONLY | O_CREAT, 0600);
  (void)!write(fd, "yes", 3);
  for (;;) pause();
}

int main(int argc, char** argv) {
  const char* mode = argc > 1 ? argv[1] : "ticks";
  struct io_uring_params params = {0};
  if (strcmp(mode, "uring") == 0 && syscall(SYS_io_uring_setup, 4, &params) < 0) return 1;
  if (strcmp(mode, "stopped") == 0) stopped_child();
  int fd = open("/ticks", O_RDWR | O_CREAT, 0600);
  if (fd < 0) return 1;
  for (unsigned long tick = 1;; ++tick) {
    char text[24];
    int length = snprintf(text, sizeof text, "%20lu\n", tick);
    if (pwrite(fd, text, (size_t)length, 0) != length) return 1;
    struct timespec millisecond = {0, 1000000};
    nanosleep(&millisecond, NULL);
  }
}
