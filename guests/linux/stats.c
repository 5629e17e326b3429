// SPDX-License-Identifier: GPL-2.0-only
/*
 * Statistics. The queue runs backwards (5.5.6.3): the driver leaves a buffer
 * there, the host returns it when it wants to know more, and gets it again
 * with what holds then.
 */
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/swap.h>
#include <linux/vmstat.h>

#include "balloon.h"

struct collected {
	struct aerate_balloon *b;
	unsigned int count;
};

static void put(struct collected *to, u16 tag, u64 value)
{
	struct virtio_balloon_stat *stat = &to->b->stats[to->count];

	if (WARN_ON_ONCE(to->count == BALLOON_STATS))
		return;
	stat->tag = cpu_to_virtio16(to->b->vdev, tag);
	stat->val = cpu_to_virtio64(to->b->vdev, value);
	to->count++;
}

static void put_pages(struct collected *to, u16 tag, u64 pages)
{
	put(to, tag, pages << PAGE_SHIFT);
}

static void put_events(struct collected *to)
{
#ifdef CONFIG_VM_EVENT_COUNTERS
	unsigned long events[NR_VM_EVENT_ITEMS], stalls = 0;
	int zone;

	all_vm_events(events);
	for (zone = 0; zone < MAX_NR_ZONES; zone++)
		stalls += events[ALLOCSTALL_NORMAL - ZONE_NORMAL + zone];
	put_pages(to, VIRTIO_BALLOON_S_SWAP_IN, events[PSWPIN]);
	put_pages(to, VIRTIO_BALLOON_S_SWAP_OUT, events[PSWPOUT]);
	put(to, VIRTIO_BALLOON_S_MAJFLT, events[PGMAJFAULT]);
	put(to, VIRTIO_BALLOON_S_MINFLT, events[PGFAULT]);
	put(to, VIRTIO_BALLOON_S_OOM_KILL, events[OOM_KILL]);
	put(to, VIRTIO_BALLOON_S_ALLOC_STALL, stalls);
	put_pages(to, VIRTIO_BALLOON_S_ASYNC_SCAN, events[PGSCAN_KSWAPD]);
	put_pages(to, VIRTIO_BALLOON_S_DIRECT_SCAN, events[PGSCAN_DIRECT]);
	put_pages(to, VIRTIO_BALLOON_S_ASYNC_RECLAIM, events[PGSTEAL_KSWAPD]);
	put_pages(to, VIRTIO_BALLOON_S_DIRECT_RECLAIM, events[PGSTEAL_DIRECT]);
#ifdef CONFIG_HUGETLB_PAGE
	put(to, VIRTIO_BALLOON_S_HTLB_PGALLOC, events[HTLB_BUDDY_PGALLOC]);
	put(to, VIRTIO_BALLOON_S_HTLB_PGFAIL, events[HTLB_BUDDY_PGALLOC_FAIL]);
#endif
#endif
}

static unsigned int collect(struct aerate_balloon *b)
{
	struct collected to = { .b = b };
	struct sysinfo info;

	put_events(&to);
	si_meminfo(&info);
	put_pages(&to, VIRTIO_BALLOON_S_MEMFREE, info.freeram);
	put_pages(&to, VIRTIO_BALLOON_S_MEMTOT, info.totalram);
	put_pages(&to, VIRTIO_BALLOON_S_AVAIL, si_mem_available());
	put_pages(&to, VIRTIO_BALLOON_S_CACHES, global_node_page_state(NR_FILE_PAGES));
	return to.count;
}

/* Leaves the buffer with the host, which returns it when it likes. */
int balloon_stats_prime(struct aerate_balloon *b)
{
	struct scatterlist sg;
	int err;

	sg_init_one(&sg, b->stats, collect(b) * sizeof(*b->stats));
	err = virtqueue_add_outbuf(b->stats_vq, &sg, 1, b, GFP_KERNEL);
	if (!err)
		virtqueue_kick(b->stats_vq);
	return err;
}

static void stats_func(struct work_struct *work)
{
	struct aerate_balloon *b = container_of(work, struct aerate_balloon, stats_work);
	unsigned int len;

	if (virtqueue_get_buf(b->stats_vq, &len))
		balloon_stats_prime(b);
}

void balloon_stats_asked(struct virtqueue *vq)
{
	struct aerate_balloon *b = vq->vdev->priv;
	unsigned long flags;

	spin_lock_irqsave(&b->work_lock, flags);
	if (!b->stopping)
		queue_work(b->wq, &b->stats_work);
	spin_unlock_irqrestore(&b->work_lock, flags);
}

void balloon_stats_init(struct aerate_balloon *b)
{
	INIT_WORK(&b->stats_work, stats_func);
}
