// From the PVH entry (32-bit protected mode, paging off, EBX: start info; xen/include/public/arch-x86/hvm/start_info.h)
// to bubble_main() in long mode. All memory is mapped to itself: 64 GiB in 2 MiB pages.

    .set mapped_gib, 64
    .set present_writable, 0x3
    .set large_page, 0x80

    .section .note.pvh, "a", @note
    .align 4
    .long 4, 4, 18 // XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_entry

    .section .text.boot, "ax"
    .code32
    .globl pvh_entry
pvh_entry:
    cli
    cld
    // After a reset RAM is as the last run left it.
    mov $bss_start, %edi
    mov $bss_end, %ecx
    sub %edi, %ecx
    shr $2, %ecx
    xor %eax, %eax
    rep stosl
    mov $stack_top, %esp

    movl $(directory_pointers + present_writable), level4
    mov $(directories + present_writable), %eax
    mov $directory_pointers, %edi
    mov $mapped_gib, %ecx
1:  mov %eax, (%edi)
    add $4096, %eax
    add $8, %edi
    loop 1b

    mov $(present_writable | large_page), %eax
    xor %edx, %edx
    mov $directories, %edi
    mov $(mapped_gib * 512), %ecx
2:  mov %eax, (%edi)
    mov %edx, 4(%edi)
    add $(2 << 20), %eax
    adc $0, %edx
    add $8, %edi
    loop 2b

    mov %cr4, %eax
    or $(1 << 5), %eax // PAE
    mov %eax, %cr4
    mov $level4, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx // EFER
    rdmsr
    or $(1 << 8), %eax // LME
    wrmsr
    mov %cr0, %eax
    or $(1 << 31 | 1), %eax // PG, PE
    mov %eax, %cr0
    lgdt gdt_pointer
    ljmp $8, $long_mode

    .code64
long_mode:
    mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov %ebx, %edi
    call bubble_main
3:  hlt
    jmp 3b

    .section .rodata
    .align 8
gdt:
    .quad 0
    .quad 0x00af9b000000ffff // code, 64-bit
    .quad 0x00cf93000000ffff // data
gdt_pointer:
    .word . - gdt - 1
    .long gdt

    .section .bss
    .align 4096
level4:
    .skip 4096
directory_pointers:
    .skip 4096
directories:
    .skip 4096 * mapped_gib
    .skip 65536
stack_top:

    .section .note.GNU-stack, "", @progbits
