// What outside.c (beside QEMU) and inside.c (in the nested machine) say to each other over one virtio-serial port.
// One port for all streams, so that the exit status cannot overtake output still on its way.
#pragma once
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum {
    FRAME_STDIN = 'i',  // to the machine; no bytes: end of file
    FRAME_WINDOW = 'w', // to the machine; struct winsize
    FRAME_NUDGE = 'n',  // to the machine; nothing: the interrupt is what it is for
    FRAME_STDOUT = 'o', // from the machine
    FRAME_STDERR = 'e',
    FRAME_STATUS = 's', // from the machine; one byte, the last frame of all
};

#define FRAME_MAX 16384

struct frame {
    uint8_t type;
    uint8_t unused;
    uint16_t length;
    char bytes[FRAME_MAX];
};
#define FRAME_HEAD 4

// Frames arrive in pieces; this collects one.
struct inbox {
    struct frame frame;
    size_t have;
};

// One read(). Returns 1 when box->frame is whole (set box->have = 0 when done with it), 0 when more is to come, -1 at
// the end of the line.
static inline int receive(int fd, struct inbox* box) {
    size_t want = FRAME_HEAD;
    if (box->have >= FRAME_HEAD) {
        if (box->frame.length > FRAME_MAX)
            return -1;
        want += box->frame.length;
    }
    ssize_t n = read(fd, (char*)&box->frame + box->have, want - box->have);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n <= 0)
        return -1;
    box->have += (size_t)n;
    return box->have >= FRAME_HEAD && box->have == FRAME_HEAD + (size_t)box->frame.length;
}

// All of it, or -1. For descriptors that block.
static inline int write_all(int fd, const void* bytes, size_t size) {
    const char* at = bytes;
    while (size > 0) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

// Bytes to be written to a descriptor that does not block; the owner takes no more input until `left` is 0 again.
struct outbox {
    const char* at;
    size_t left;
};

static inline int drain(int fd, struct outbox* box) {
    while (box->left > 0) {
        ssize_t n = write(fd, box->at, box->left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0)
            return -1;
        box->at += n;
        box->left -= (size_t)n;
    }
    return 0;
}
