// The hand-off of a migration, modelled a second time, from what the documentation promises; its author had seen
// the code. tests/spin/check compares the verdicts with those that `aerate prove` has from the code itself.
//
//     source                      destination
//     STATE + root of hashes ───▶
//                            ◀─── READY, or MISMATCH
//     records "given"             from here it may not resume by itself
//     GO                     ───▶ claims the lease, if there is one; the first claim wins
//                                 runs
//                            ◀─── ACK
//
// Variants, by -D: LEASE; KILLS (either monitor may be killed at any moment, and its guest with it); and two ways of
// doing it wrong, RUN_ON_STATE and RESUME_AFTER_GO.
//
// A cut is one direction's: what is sent after it never arrives. What was under way may still arrive or may not, since
// a side may give up waiting whenever it likes: a time limit, a cancellation, a cut that it noticed.

mtype = { STATE, READY, MISMATCH, GO, ACK };
chan to_destination = [2] of { mtype };
chan to_source = [2] of { mtype };
bool cut_to_destination, cut_to_source;

bool source_runs = true, destination_runs;
bool source_has_copy = true; // whole, in memory: it could run if it were told to
bool destination_owns;       // it was told to run, and nobody else may
bool given;                  // recorded by the source
bool source_killed, destination_killed;

mtype = { NOBODY, SOURCE, DESTINATION };
mtype lease = NOBODY;

inline send(channel, cut, message) {
    atomic {
        if
        :: cut
        :: else -> channel!message
        fi
    }
}

inline claim(who) {
    atomic {
        if
        :: lease == NOBODY -> lease = who
        :: else
        fi
    }
}

active proctype source() {
    {
        if
        :: true // all pages are sent
        :: goto resume
        fi;
        source_runs = false;
        send(to_destination, cut_to_destination, STATE);
        if
        :: to_source?READY
        :: to_source?MISMATCH -> goto resume
        :: goto resume
        fi;
        if
        :: given = true
        :: goto resume // the record could not be written, or it was cancelled just now
        fi;
        send(to_destination, cut_to_destination, GO);
        if
        :: to_source?ACK -> goto destroy
        :: true // nothing is heard
        fi;
#if defined(RESUME_AFTER_GO)
        goto resume;
#elif defined(LEASE)
        claim(SOURCE);
        if
        :: lease == SOURCE -> goto resume
        :: else
        fi;
#else
end_quiet:
        to_source?ACK; // late, but it says enough; else an operator decides
#endif
destroy:
        source_has_copy = false;
        goto done;
resume:
        source_runs = true;
done:
        skip
    } unless { source_killed }
}

active proctype destination() {
    mtype answer;
    {
        if
        :: to_destination?STATE
        :: goto discard
        fi;
#ifndef RUN_ON_STATE
        if
        :: answer = READY
        :: answer = MISMATCH
        fi;
        send(to_source, cut_to_source, answer);
        if
        :: answer == MISMATCH -> goto discard
        :: else
        fi;
        if
        :: to_destination?GO
        :: goto discard
        fi;
#ifdef LEASE
        claim(DESTINATION);
        if
        :: lease == DESTINATION
        :: else -> goto discard
        fi;
#endif
#endif
        destination_owns = true;
        destination_runs = true;
        send(to_source, cut_to_source, ACK);
discard:
        skip
    } unless { destination_killed }
}

active proctype network() {
    do
    :: !cut_to_destination -> cut_to_destination = true
    :: !cut_to_source -> cut_to_source = true
    :: break
    od
}

#ifdef KILLS
active proctype killer() {
    do
    :: atomic { !source_killed -> source_killed = true; source_runs = false; source_has_copy = false }
    :: atomic { !destination_killed -> destination_killed = true; destination_runs = false }
    :: break
    od
}
#endif

// Who held the guest was killed: any monitor takes its guest along.
#define guest_killed (source_killed || (destination_killed && (destination_owns || lease == DESTINATION)))
// What an operator finds without a lease: the source has given, the destination was never told to run.
#define quiet (given && source_has_copy && !destination_owns)

ltl never_two { [] !(source_runs && destination_runs) }
ltl never_lost { [] (source_has_copy || destination_owns || source_killed || lease == DESTINATION) }
ltl someone_runs { <> [] (source_runs || destination_runs || guest_killed) }
ltl someone_runs_or_quiet { <> [] (source_runs || destination_runs || guest_killed || quiet) }
