// SPDX-License-Identifier: GPL-2.0-only
/*
 * The balloon: towards the size that the host asks for, in the largest blocks
 * that there are. A host discards ascending PFNs with one system call, and
 * memory that is taken whole leaves whole huge pages behind on both sides.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/pageblock-flags.h>
#include <linux/scatterlist.h>

#include "balloon.h"

/* A try costs nothing: blocks that are not free are not made free. */
#define BLOCK_GFP ((GFP_HIGHUSER & ~__GFP_RECLAIM) | __GFP_NORETRY | \
		   __GFP_NOWARN | __GFP_NOMEMALLOC)

/* How long an inflation that got nothing waits until it tries again. */
#define RETRY_FIRST (HZ / 5ul)
#define RETRY_LAST (5ul * HZ)

static const unsigned int block_orders[] = { MAX_PAGE_ORDER, 9 };

static bool counts_as_memory(struct aerate_balloon *b)
{
	return virtio_has_feature(b->vdev, VIRTIO_BALLOON_F_DEFLATE_ON_OOM);
}

/* What is in the balloon is the guest's only if it may take it back. */
static void adjust_managed(struct aerate_balloon *b, struct page *page, long count)
{
	if (!counts_as_memory(b))
		adjust_managed_page_count(page, count);
}

static void push_pfns(struct aerate_balloon *b, struct page *page, unsigned int order)
{
	u32 first = page_to_pfn(page) * UNITS_PER_PAGE;
	unsigned int i;

	for (i = 0; i < UNITS_PER_PAGE << order; i++)
		b->pfns[b->num_pfns++] = cpu_to_virtio32(b->vdev, first + i);
}

static int add_chunk(struct aerate_balloon *b, struct virtqueue *vq,
		     unsigned int index, void *data)
{
	unsigned int first = index * BALLOON_CHUNK;
	struct scatterlist sg;

	sg_init_one(&sg, b->pfns + first,
		    min(b->num_pfns - first, BALLOON_CHUNK) * sizeof(*b->pfns));
	/* Indirect descriptors are off: this allocates nothing. */
	return virtqueue_add_outbuf(vq, &sg, 1, b, GFP_NOWAIT | __GFP_NOWARN);
}

/* Tells the PFNs that were pushed; without an answer only if there is no host. */
static void tell(struct aerate_balloon *b, struct virtqueue *vq)
{
	balloon_exchange(b, vq, DIV_ROUND_UP(b->num_pfns, BALLOON_CHUNK),
			 add_chunk, NULL);
	b->num_pfns = 0;
}

/*
 * Marks each page of a block, for crash dumps to leave it out: a dump that
 * reads it would make the host fill it again.
 */
static void set_block_offline(struct page *page, unsigned int order, bool offline)
{
	unsigned int i;

	for (i = 0; i < 1u << order; i++) {
		if (offline)
			__SetPageOffline(page + i);
		else
			__ClearPageOffline(page + i);
	}
}

static struct page *alloc_block(u32 units, unsigned int *order)
{
	struct page *page;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(block_orders); i++) {
		*order = block_orders[i];
		if (UNITS_PER_PAGE << *order > units)
			continue;
		page = alloc_pages(BLOCK_GFP, *order);
		if (page)
			return page;
	}
	return NULL;
}

/*
 * Takes up to @units, one batch at most, and gives them to the host. All
 * allocation is done before the lock is taken: it may lead to a migration of
 * the balloon's pages, or to reclaim that waits for an OOM notifier.
 */
static u32 inflate(struct aerate_balloon *b, u32 units)
{
	LIST_HEAD(blocks);
	LIST_HEAD(singles);
	struct page *page, *next;
	unsigned int order;
	u32 taken = 0;

	units = min_t(u32, units, BALLOON_BATCH);
	while ((page = alloc_block(units - taken, &order))) {
		set_page_private(page, order);
		list_add_tail(&page->lru, &blocks);
		taken += UNITS_PER_PAGE << order;
	}
	while (units - taken >= UNITS_PER_PAGE && (page = balloon_page_alloc())) {
		balloon_page_push(&singles, page);
		taken += UNITS_PER_PAGE;
	}

	mutex_lock(&b->lock);
	list_for_each_entry_safe(page, next, &blocks, lru) {
		order = page_private(page);
		push_pfns(b, page, order);
		set_block_offline(page, order, true);
		adjust_managed(b, page, -(1L << order));
		list_move(&page->lru, &b->blocks);
		b->block_units += UNITS_PER_PAGE << order;
	}
	while ((page = balloon_page_pop(&singles))) {
		balloon_page_enqueue(&b->pages, page);
		push_pfns(b, page, 0);
		adjust_managed(b, page, -1);
		b->page_units += UNITS_PER_PAGE;
	}
	tell(b, b->inflate_vq);
	mutex_unlock(&b->lock);
	return taken;
}

static void pop_block(struct aerate_balloon *b, struct page *page)
{
	unsigned int order = page_private(page);

	list_del(&page->lru);
	set_page_private(page, 0);
	set_block_offline(page, order, false);
	b->block_units -= UNITS_PER_PAGE << order;
}

/* Makes single pages of a block; they stay in the balloon. */
static void split_block(struct aerate_balloon *b, struct page *page)
{
	unsigned int order = page_private(page), i;

	pop_block(b, page);
	split_page(page, order);
	for (i = 0; i < 1u << order; i++)
		balloon_page_enqueue(&b->pages, page + i);
	b->page_units += UNITS_PER_PAGE << order;
}

/*
 * Takes up to @units back from the host, one batch at most. Single pages go
 * first: those are the ones that keep the guest's memory in pieces.
 */
static u32 deflate(struct aerate_balloon *b, u32 units)
{
	LIST_HEAD(blocks);
	LIST_HEAD(singles);
	struct page *page, *next;
	u32 given = 0;

	units = min_t(u32, units, BALLOON_BATCH);
	mutex_lock(&b->lock);
	while (units - given >= UNITS_PER_PAGE) {
		/* None comes while compaction has them all. */
		page = b->page_units ? balloon_page_dequeue(&b->pages) : NULL;
		if (page) {
			b->page_units -= UNITS_PER_PAGE;
			push_pfns(b, page, 0);
			list_add(&page->lru, &singles);
			given += UNITS_PER_PAGE;
			continue;
		}
		page = list_first_entry_or_null(&b->blocks, struct page, lru);
		if (!page)
			break;
		if (UNITS_PER_PAGE << page_private(page) > units - given) {
			split_block(b, page);
			continue;
		}
		given += UNITS_PER_PAGE << page_private(page);
		push_pfns(b, page, page_private(page));
		list_move(&page->lru, &blocks);
	}
	tell(b, b->deflate_vq);

	list_for_each_entry_safe(page, next, &blocks, lru) {
		unsigned int order = page_private(page);

		pop_block(b, page);
		adjust_managed(b, page, 1L << order);
		__free_pages(page, order);
	}
	list_for_each_entry_safe(page, next, &singles, lru) {
		list_del(&page->lru);
		adjust_managed(b, page, 1);
		put_page(page);
	}
	mutex_unlock(&b->lock);
	return given;
}

static u32 actual(struct aerate_balloon *b)
{
	return READ_ONCE(b->page_units) + READ_ONCE(b->block_units);
}

/* Gives back @units or all that there is; returns what it was. */
unsigned long balloon_deflate(struct aerate_balloon *b, u32 units)
{
	unsigned long given = 0;
	u32 more;

	while (given < units && (more = deflate(b, units - given)))
		given += more;
	return given;
}

/* For a driver that leaves: waits for pages that compaction holds. */
void balloon_deflate_all(struct aerate_balloon *b)
{
	while (actual(b)) {
		if (!deflate(b, actual(b)))
			schedule_timeout_uninterruptible(1);
		cond_resched();
	}
}

/* The configuration is little-endian even for legacy devices (5.5.4). */
void balloon_write_actual(struct aerate_balloon *b)
{
	u32 units = actual(b);

	if (!READ_ONCE(b->gone))
		virtio_cwrite_le(b->vdev, struct virtio_balloon_config, actual, &units);
}

u32 balloon_read_target(struct aerate_balloon *b)
{
	u32 target;

	virtio_cread_le(b->vdev, struct virtio_balloon_config, num_pages, &target);
	/* Whole pages of the guest, or it would never be reached. */
	return round_up(target, UNITS_PER_PAGE);
}

/* One batch; the work comes again until the target is reached. */
static void change_size(struct work_struct *work)
{
	struct aerate_balloon *b = container_of(to_delayed_work(work),
						struct aerate_balloon, size_work);
	u32 target = balloon_read_target(b), has = actual(b), moved;

	/* A host that went on asking for what the guest had to take back would
	 * drive it from one OOM to the next: it has to ask for something else.
	 */
	if (target != READ_ONCE(b->oom_target))
		WRITE_ONCE(b->oom_resting, false);
	if (target == has || (target > has && READ_ONCE(b->oom_resting)))
		return;
	moved = target > has ? inflate(b, target - has) : deflate(b, has - target);
	balloon_write_actual(b);
	b->retry = moved ? 0 : clamp(2 * b->retry, RETRY_FIRST, RETRY_LAST);
	if (!moved && target > has)
		dev_info_ratelimited(&b->vdev->dev, "no memory to inflate with, %u of %u pages\n",
				     has, target);
	queue_delayed_work(b->wq, &b->size_work, b->retry);
}

#ifdef CONFIG_BALLOON_COMPACTION
/*
 * Puts @newpage into the balloon in the place of @page, for compaction. Gives
 * way to whoever holds the lock: an inflation may have led to this compaction.
 */
static int migrate_page(struct balloon_dev_info *info, struct page *newpage,
			struct page *page, enum migrate_mode mode)
{
	struct aerate_balloon *b = container_of(info, struct aerate_balloon, pages);
	unsigned long flags;

	if (!mutex_trylock(&b->lock))
		return -EAGAIN;
	get_page(newpage); /* the balloon's */
	if (page_zone(page) != page_zone(newpage)) {
		adjust_managed(b, page, 1);
		adjust_managed(b, newpage, -1);
	}
	spin_lock_irqsave(&info->pages_lock, flags);
	balloon_page_insert(info, newpage);
	info->isolated_pages--;
	__count_vm_event(BALLOON_MIGRATE);
	spin_unlock_irqrestore(&info->pages_lock, flags);
	push_pfns(b, newpage, 0);
	tell(b, b->inflate_vq);
	push_pfns(b, page, 0);
	tell(b, b->deflate_vq);
	mutex_unlock(&b->lock);

	balloon_page_finalize(page);
	put_page(page); /* the balloon's */
	return MIGRATEPAGE_SUCCESS;
}
#endif

void balloon_size_init(struct aerate_balloon *b)
{
	mutex_init(&b->lock);
	INIT_LIST_HEAD(&b->blocks);
	balloon_devinfo_init(&b->pages);
#ifdef CONFIG_BALLOON_COMPACTION
	b->pages.migratepage = migrate_page;
#endif
	INIT_DELAYED_WORK(&b->size_work, change_size);
}
