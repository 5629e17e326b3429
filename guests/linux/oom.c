// SPDX-License-Identifier: GPL-2.0-only
/* Gives memory back to a guest that would kill a process for want of it. */
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/oom.h>

#include "balloon.h"

/* Before others, as the stock driver: what a process uses is worth more. */
#define OOM_PRIORITY 80
/* An OOM so soon after another one says that it was not enough. */
#define OOM_AGAIN (10 * HZ)

/*
 * How many pages are needed. Who is short of how much the kernel does not say:
 * as much as the guest lacks to have a 64th of its memory available, and 2 MiB
 * at least; each time that this was not enough, twice as much as before.
 */
static unsigned long needed(struct aerate_balloon *b)
{
	long lacking = (long)(totalram_pages() >> 6) - si_mem_available();
	unsigned long pages = max(lacking, (long)(SZ_2M >> PAGE_SHIFT));

	if (b->oom_pages && time_before(jiffies, b->oom_last + OOM_AGAIN))
		pages = max(pages, 2 * b->oom_pages);
	return min_t(unsigned long, pages, UINT_MAX / UNITS_PER_PAGE);
}

/* Called one at a time, under oom_lock. */
static int notify(struct notifier_block *nb, unsigned long unused, void *freed_pages)
{
	struct aerate_balloon *b = container_of(nb, struct aerate_balloon, oom_nb);
	unsigned long *freed = freed_pages;
	unsigned long given;

	WRITE_ONCE(b->oom_target, balloon_read_target(b));
	WRITE_ONCE(b->oom_resting, true);
	given = balloon_deflate(b, needed(b) * UNITS_PER_PAGE) / UNITS_PER_PAGE;
	if (given) {
		b->oom_pages = given;
		b->oom_last = jiffies;
		balloon_write_actual(b);
	}
	*freed += given;
	return NOTIFY_OK;
}

int balloon_oom_start(struct aerate_balloon *b)
{
	int err;

	if (!virtio_has_feature(b->vdev, VIRTIO_BALLOON_F_DEFLATE_ON_OOM))
		return 0;
	b->oom_nb.notifier_call = notify;
	b->oom_nb.priority = OOM_PRIORITY;
	err = register_oom_notifier(&b->oom_nb);
	b->oom_registered = !err;
	return err;
}

void balloon_oom_stop(struct aerate_balloon *b)
{
	if (b->oom_registered)
		unregister_oom_notifier(&b->oom_nb);
	b->oom_registered = false;
}
