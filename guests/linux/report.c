// SPDX-License-Identifier: GPL-2.0-only
/*
 * Free page reports. The kernel takes free blocks out of the allocator, 32 at
 * a time, calls report(), and puts them back: nothing is allocated or cleared,
 * and nobody can use a block before the host is done with it. By itself it
 * does so two seconds after memory was freed. Nothing keeps a driver from
 * having it done when the host asks: that is what a new command ID of free
 * page hinting leads to here (a round).
 *
 * A block that is reported has no need to be hinted too: the host has dropped
 * it, so there is nothing of it to save or to send. A driver may hint as little
 * as it likes (5.5.6.5), and a round without hints is over as soon as it is
 * answered. Nothing is held either, so there is nothing for a shrinker to take
 * back. Where the host does not offer reporting the same pass feeds the hint
 * queue, and a block is held until the host has used its hint.
 */
#include <linux/mm.h>
#include <linux/page_reporting.h>
#include <linux/scatterlist.h>
#include <linux/suspend.h>
#include <linux/virtio_config.h>

#include "balloon.h"

/* Blocks of 128 KiB and more: what a host gets back by smaller ones is hardly
 * worth its system calls. docs/measurements.md has the figures.
 */
static unsigned int report_order = 5;
module_param(report_order, uint, 0444);
MODULE_PARM_DESC(report_order, "order of the smallest blocks that are reported (5)");

/*
 * A pass reports a sixteenth of each free list and one batch more, so that 17
 * come to the end of all that was free at the start. While others free memory
 * there is always more to report: that is left to the pass two seconds later.
 */
#define ROUND_PASSES 20

/* How long a suspend waits for a round. */
#define ROUND_PATIENCE (5 * HZ)

/* Of page_reporting.c: what atomic_t state means. */
#define PR_IDLE 0
#define PR_REQUESTED 1

static int add_report(struct aerate_balloon *b, struct virtqueue *vq,
		      unsigned int index, void *data)
{
	struct scatterlist *sg = data;

	return virtqueue_add_inbuf(vq, sg, sg_nents(sg), b, GFP_NOWAIT | __GFP_NOWARN);
}

static int add_hint(struct aerate_balloon *b, struct virtqueue *vq,
		    unsigned int index, void *data)
{
	struct scatterlist *block = (struct scatterlist *)data + index, one;

	sg_init_table(&one, 1);
	sg_set_page(&one, sg_page(block), block->length, 0);
	return virtqueue_add_inbuf(vq, &one, 1, b, GFP_NOWAIT | __GFP_NOWARN);
}

static int add_word(struct aerate_balloon *b, struct virtqueue *vq,
		    unsigned int index, void *data)
{
	struct scatterlist sg;

	sg_init_one(&sg, &b->word, sizeof(b->word));
	return virtqueue_add_outbuf(vq, &sg, 1, b, GFP_NOWAIT | __GFP_NOWARN);
}

static u32 read_command(struct aerate_balloon *b)
{
	u32 id;

	virtio_cread_le(b->vdev, struct virtio_balloon_config,
			free_page_hint_cmd_id, &id);
	return id;
}

/* The host wants no more hints. Only an interrupt says so: QEMU's registers
 * read as STOP while a round is under way.
 */
static bool withdrawn(struct aerate_balloon *b)
{
	if (xchg(&b->config_changed, false))
		b->round_withdrawn = read_command(b) != b->round_id;
	return b->round_withdrawn;
}

/* Called with up to 32 blocks, which are nobody's until this returns. */
static int report(struct page_reporting_dev_info *pr, struct scatterlist *sg,
		  unsigned int nents)
{
	struct aerate_balloon *b = container_of(pr, struct aerate_balloon, pr);
	int err;

	if (READ_ONCE(b->stopping))
		return -ENODEV;
	if (b->report_vq)
		err = balloon_exchange(b, b->report_vq, 1, add_report, sg);
	else if (withdrawn(b))
		err = -EINTR;
	else
		err = balloon_exchange(b, b->hint_vq, nents, add_hint, sg);
	if (!err)
		b->reported_blocks += nents;
	return err;
}

static int register_reports(struct aerate_balloon *b)
{
	int err;

	if (b->report_unused)
		return -EOPNOTSUPP;
	b->pr.report = report;
	b->pr.order = min_t(unsigned int, report_order, MAX_PAGE_ORDER);
	balloon_unset_order(pageblock_order);
	err = page_reporting_register(&b->pr);
	if (err)
		dev_warn(&b->vdev->dev, "another driver reports free pages (%d)\n", err);
	b->pr_registered = !err;
	return err;
}

static void unregister_reports(struct aerate_balloon *b)
{
	if (!b->pr_registered)
		return;
	page_reporting_unregister(&b->pr);
	balloon_unset_order(b->pr.order); /* whoever is next has its own */
	b->pr_registered = false;
}

/*
 * Has the kernel report all that is free, at once. The work has to go to the
 * queue that page_reporting.c itself puts it on: only there it does not run
 * twice at a time.
 */
static void run_passes(struct aerate_balloon *b)
{
	unsigned int passes = 0;
	u64 before;

	do {
		before = b->reported_blocks;
		atomic_set(&b->pr.state, PR_REQUESTED);
		mod_delayed_work(system_freezable_wq, &b->pr.work, 0);
		flush_delayed_work(&b->pr.work);
	} while (atomic_read(&b->pr.state) != PR_IDLE && ++passes < ROUND_PASSES &&
		 b->reported_blocks != before && !READ_ONCE(b->stopping));
}

/*
 * Sends a word and waits until the host has read it. So a round begins only
 * when the host knows of it, no marker is ever lost for want of room, and none
 * is read late, with the next one's content.
 */
static int say(struct aerate_balloon *b, u32 word)
{
	b->word = cpu_to_virtio32(b->vdev, word);
	return balloon_exchange(b, b->hint_vq, 1, add_word, NULL);
}

static void answer_round(struct aerate_balloon *b)
{
	if (say(b, b->round_id))
		return;
	if (b->pr_registered) {
		run_passes(b);
	} else if (!register_reports(b)) {
		run_passes(b);
		unregister_reports(b);
	}
	say(b, VIRTIO_BALLOON_CMD_ID_STOP);
}

static void round_func(struct work_struct *work)
{
	struct aerate_balloon *b = container_of(work, struct aerate_balloon, round_work);
	u32 id;

	WRITE_ONCE(b->round_open, true);
	smp_mb(); /* pairs with the one in pm_notify() */
	if (!READ_ONCE(b->rounds_off)) {
		WRITE_ONCE(b->config_changed, false);
		id = read_command(b);
		if (id != VIRTIO_BALLOON_CMD_ID_STOP && id != VIRTIO_BALLOON_CMD_ID_DONE &&
		    id != b->round_id) {
			b->round_id = id;
			b->round_withdrawn = false;
			answer_round(b);
		}
	}
	WRITE_ONCE(b->round_open, false);
	wake_up_all(&b->acked);
}

/*
 * A suspend freezes the queue of the passes before it has waited for a round,
 * which could then not end: so it ends before.
 */
static int pm_notify(struct notifier_block *nb, unsigned long event, void *unused)
{
	struct aerate_balloon *b = container_of(nb, struct aerate_balloon, pm_nb);

	switch (event) {
	case PM_SUSPEND_PREPARE:
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
		WRITE_ONCE(b->rounds_off, true);
		smp_mb(); /* pairs with the one in round_func() */
		if (!wait_event_timeout(b->acked, !READ_ONCE(b->round_open), ROUND_PATIENCE)) {
			dev_warn(&b->vdev->dev, "the host does not answer: no suspend now\n");
			WRITE_ONCE(b->rounds_off, false);
			return notifier_from_errno(-EBUSY);
		}
		break;
	case PM_POST_SUSPEND:
	case PM_POST_HIBERNATION:
	case PM_POST_RESTORE:
		WRITE_ONCE(b->rounds_off, false);
		queue_work(b->wq, &b->round_work); /* what came meanwhile */
		break;
	}
	return NOTIFY_OK;
}

void balloon_report_init(struct aerate_balloon *b)
{
	INIT_WORK(&b->round_work, round_func);
}

/* Fails only for want of memory: a balloon without reports is a balloon. */
int balloon_report_start(struct aerate_balloon *b)
{
	int err;

	if (b->report_vq &&
	    virtqueue_get_vring_size(b->report_vq) < PAGE_REPORTING_CAPACITY) {
		dev_warn(&b->vdev->dev, "the reporting queue has no room for %u blocks; unused\n",
			 PAGE_REPORTING_CAPACITY);
		b->report_unused = true;
	}
	/* A host may clear a page that it was hinted, which poisoning would
	 * take for corruption; that it keeps the poison of reported pages it
	 * has promised (PAGE_POISON).
	 */
	if (!b->report_vq && page_poisoning_enabled_static())
		b->report_unused = true;
	if (b->report_vq)
		register_reports(b);
	if (!b->hint_vq)
		return 0;
	b->pm_nb.notifier_call = pm_notify;
	err = register_pm_notifier(&b->pm_nb);
	b->pm_registered = !err;
	return err;
}

/* With stopping set: nothing begins any more, and what runs comes to an end. */
void balloon_report_stop(struct aerate_balloon *b)
{
	if (b->pm_registered)
		unregister_pm_notifier(&b->pm_nb);
	b->pm_registered = false;
	cancel_work_sync(&b->round_work);
	unregister_reports(b);
}
