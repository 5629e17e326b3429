/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A virtio balloon (virtio 1.2, 5.5) that reports its free memory when the host
 * asks for it, and inflates in large blocks. See docs/guest-driver.md.
 *
 *   main.c     the device's life: probe, remove, suspend, shutdown
 *   queue.c    hands buffers to the host and waits for them
 *   inflate.c  the balloon itself
 *   report.c   free page reports, by the kernel's clock or at the host's word
 *   stats.c    statistics
 *   oom.c      gives memory back to a guest that has none
 */
#ifndef AERATE_BALLOON_H
#define AERATE_BALLOON_H

#include <linux/balloon_compaction.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/page_reporting.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
#include <linux/virtio_balloon.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "compat.h"

/* The unit of the balloon, 4 KiB whatever the guest's pages are (5.5.6). */
#define UNITS_PER_PAGE ((unsigned int)(PAGE_SIZE >> VIRTIO_BALLOON_PFN_SHIFT))
/* PFNs in a buffer: Firecracker does not return a buffer that has more. */
#define BALLOON_CHUNK 256u
/* PFNs that are handed over at once, 16 MiB: what an inflation clears before
 * the host has it back.
 */
#define BALLOON_BATCH (16 * BALLOON_CHUNK)
/* How long a host may keep a driver waiting that is about to leave. */
#define BALLOON_PATIENCE (10 * HZ)

struct aerate_balloon {
	struct virtio_device *vdev;
	struct virtqueue *inflate_vq, *deflate_vq;
	/* NULL where the host does not offer them. */
	struct virtqueue *stats_vq, *hint_vq, *report_vq;
	struct workqueue_struct *wq;

	/* All who wait for the host wait here. */
	wait_queue_head_t acked;
	/* The device was reset: it answers nobody, and no page is its any more. */
	bool gone;
	/* Resets the device if the host lets a removal wait for too long. */
	struct delayed_work give_up;

	/* Held, with interrupts off, to queue work or to say that none may be. */
	spinlock_t work_lock;
	bool stopping;

	/* The balloon, see inflate.c; the lock is held to change it. */
	struct mutex lock;
	struct balloon_dev_info pages; /* single pages, which may be migrated */
	struct list_head blocks;       /* larger ones, which may not; order in private */
	u32 page_units, block_units;   /* how much that is, in units */
	__virtio32 *pfns;              /* BALLOON_BATCH of them */
	unsigned int num_pfns;
	struct delayed_work size_work;
	unsigned long retry; /* jiffies until an inflation that got nothing tries again */

	/* Deflation on OOM, see oom.c. */
	struct notifier_block oom_nb;
	bool oom_registered;
	unsigned long oom_last;  /* jiffies */
	unsigned long oom_pages; /* given back then */
	bool oom_resting;        /* nothing inflates towards oom_target any more */
	u32 oom_target;

	/* Reports, see report.c. */
	struct page_reporting_dev_info pr;
	bool pr_registered;
	bool report_unused; /* the ring is too short, or the kernel poisons */
	struct work_struct round_work;
	bool rounds_off;      /* while the machine is being suspended */
	bool round_open;      /* for pm_nb */
	bool config_changed;  /* since round_id was read */
	bool round_withdrawn; /* by the host */
	u32 round_id;         /* of the last round */
	u64 reported_blocks;  /* since the device was bound */
	__virtio32 word;      /* what is sent on hint_vq */
	struct notifier_block pm_nb;
	bool pm_registered;

	struct work_struct stats_work;
	struct virtio_balloon_stat stats[BALLOON_STATS];
};

/* Whether the host will answer no more. */
static inline bool balloon_unreachable(struct aerate_balloon *b,
				       struct virtqueue *vq)
{
	return READ_ONCE(b->gone) || virtqueue_is_broken(vq);
}

/* queue.c */
typedef int balloon_add_t(struct aerate_balloon *b, struct virtqueue *vq,
			  unsigned int index, void *data);
int balloon_exchange(struct aerate_balloon *b, struct virtqueue *vq,
		     unsigned int count, balloon_add_t *add, void *data);
void balloon_acked(struct virtqueue *vq);
void balloon_reset(struct aerate_balloon *b);
void balloon_give_up(struct work_struct *work);

/* inflate.c */
void balloon_size_init(struct aerate_balloon *b);
unsigned long balloon_deflate(struct aerate_balloon *b, u32 units);
void balloon_deflate_all(struct aerate_balloon *b);
void balloon_write_actual(struct aerate_balloon *b);
u32 balloon_read_target(struct aerate_balloon *b);

/* report.c */
void balloon_report_init(struct aerate_balloon *b);
int balloon_report_start(struct aerate_balloon *b);
void balloon_report_stop(struct aerate_balloon *b);

/* stats.c */
void balloon_stats_init(struct aerate_balloon *b);
int balloon_stats_prime(struct aerate_balloon *b);
void balloon_stats_asked(struct virtqueue *vq);

/* oom.c */
int balloon_oom_start(struct aerate_balloon *b);
void balloon_oom_stop(struct aerate_balloon *b);

#endif
