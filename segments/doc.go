// Package segments owns segments: rules over members whose membership is always current, and the schema `segments`.
//
// # The rule language
//
// docs/architecture.md, "Segment rules", is the letter. Parse checks a rule to the last key and names every fault by its
// JSON path. Where the letter leaves room, this package reads it so:
//
//   - eq, ne, in and nin with a JSON number compare numbers ("5" equals 5.0), with a string or boolean the text of the
//     value. On list values eq, in and contains mean any element; ordering, before, after and anniversary read scalars
//     only. An empty list, null and a list of nulls are absent.
//   - Ordering with a string compares byte by byte. registered_at and first_fact_at are times: strings are times too.
//   - The unless event of a sequence counts strictly between the first and the last step; for a single step from just
//     after it to the end of within, both the deadline and now included.
//   - R of RFM is whole days (24 h) since the last paid order; ties go by member id, ascending, in all three rankings.
//   - The SICAS stage of a member is the furthest whose sign was seen lately; see Stage.
//   - A reference to another segment stands for its rule at the same instant.
//
// # Evaluation
//
// A rule compiles to one SQL statement of set algebra: for everybody, or for a few members through the index of their
// facts. A naive evaluator written from the letter judges it in the tests. Evaluate, Members and Count are exact for any
// instant: the graph, attributes, lists and reach of today, facts up to the instant. docs/measurements.md says what each kind
// of leaf costs at a million members.
//
// # Scope
//
// A segment is the brand's: its rule, its membership and the quintiles of RFM know no scope. What an actor sees of it does:
// sizes, previews, members and reasons count the members of the actor's stores, and for an associate their own. Journeys
// and the command line work on the brand.
//
// # Advice
//
// Activity keys, properties and attributes are free, so a mistyped one is no fault. Advise says which names of a rule nobody
// ever carried, and what was probably meant.
package segments
