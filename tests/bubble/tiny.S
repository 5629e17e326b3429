/* A guest of one page, entered by PVH. What it does is the first letter of its command line: s = stands still,
   t = triple-faults at once, p = says that it has panicked (pvpanic) and stands still. */
.section .note.pvh,"a",@note
  .long 4, 4, 18
  .asciz "Xen"
  .long start
.text
.code32
.globl start
start:
  mov $0x80000, %esp
  mov 24(%ebx), %esi
  mov (%esi), %bl
  mov $boot, %esi
1: lodsb
  test %al, %al
  jz 2f
  mov $0x3f8, %dx
  out %al, %dx
  jmp 1b
2:
  cmp $'t', %bl
  je fault
  cmp $'p', %bl
  jne spin
  mov $0x505, %dx
  mov $1, %al
  out %al, %dx
spin: pause
  jmp spin
fault: /* the entry of the interrupt table at 0 is not present, nor are those of the faults that this makes */
  int3
boot: .asciz "TINY-BOOT\r\n"
