%% Figures side by side, as Markdown for people and as JSON for programs.
-module(bench_table).

-export([markdown/1, json/1, text/1]).

-export_type([section/0, cell/0]).

-type section() ::
    #{title := iodata(), headings := [string()], rows := [[cell()]], notes => [iodata()]} | #{markdown := iodata()}.

%% What is measured is a number with its unit; everything else is text.
-type cell() ::
    iodata()
    | {ns | ms | percent | rate | kib | mib | count | ratio | at_most | faster, number()}
    | {ratios, Low :: number(), High :: number()}
    %% The last: so many of so many missed.
    | {goal, met | missed | {missed, pos_integer(), pos_integer()}}
    | none.

-spec markdown(section()) -> iodata().
markdown(#{only := json}) ->
    [];
markdown(#{title := Title, headings := Headings, rows := Rows} = Section) ->
    Lines = [Headings, ["---" || _ <- Headings] | Rows],
    ["\n### ", Title, "\n\n", [line(Line) || Line <- Lines], [[$\n, Note, $\n] || Note <- maps:get(notes, Section, [])]].

line(Cells) ->
    ["| ", lists:join(" | ", [text(Cell) || Cell <- Cells]), " |\n"].

-spec text(cell()) -> iodata().
text({ns, Ns}) when Ns < 1_000_000 -> [digits(Ns / 1000), " µs"];
text({ns, Ns}) -> text({ms, Ns / 1_000_000});
text({ms, Ms}) -> [digits(Ms), " ms"];
text({percent, Percent}) -> io_lib:format("~.2f %", [float(Percent)]);
text({rate, PerSecond}) -> io_lib:format("~.1f", [float(PerSecond)]);
text({kib, KiB}) -> io_lib:format("~.1f KiB", [float(KiB)]);
text({mib, MiB}) -> io_lib:format("~.1f MiB", [float(MiB)]);
text({count, Count}) -> thousands(Count);
text({ratio, Ratio}) -> [digits(Ratio), " x"];
text({at_most, Ratio}) -> text({ratio, Ratio});
text({faster, Ratio}) when Ratio < 1 -> [digits(Ratio), " x as fast"];
text({faster, Ratio}) -> [digits(Ratio), " x faster"];
text({ratios, Low, High}) -> [digits(Low), " to ", digits(High)];
text({goal, met}) -> "met";
text({goal, missed}) -> "**MISSED**";
text({goal, {missed, Missed, Of}}) -> io_lib:format("**MISSED** in ~b of ~b", [Missed, Of]);
text(none) -> "";
text(Text) -> Text.

%% Three of them, or all that stand before the point.
digits(Number) when abs(Number) < 10 -> io_lib:format("~.2f", [float(Number)]);
digits(Number) when abs(Number) < 100 -> io_lib:format("~.1f", [float(Number)]);
digits(Number) -> thousands(round(Number)).

thousands(Number) when Number < 1000 -> integer_to_list(Number);
thousands(Number) -> [thousands(Number div 1000), io_lib:format(",~3..0b", [Number rem 1000])].

%% A map, a list, a section's cell, text or a number. OTP has no encoder before 27.
-spec json(term()) -> iodata().
json(#{headings := Headings, rows := Rows} = Section) ->
    json(#{title => maps:get(title, Section), rows => {list, [{object, lists:zip(Headings, Row)} || Row <- Rows]}, notes => {list, maps:get(notes, Section, [])}});
json(#{} = Map) -> json({object, [{atom_to_list(Key), Value} || {Key, Value} <- maps:to_list(Map)]});
json({object, Pairs}) -> ["{", lists:join(",", [[json(named(Key)), ":", json(Value)] || {Key, Value} <- Pairs]), "}\n"];
json({list, Items}) -> ["[", lists:join(",", [json(Item) || Item <- Items]), "]"];
json({ratios, Low, High}) -> json({object, [{"low", Low}, {"high", High}]});
json({goal, {missed, Missed, Of}}) -> json({object, [{"missed", Missed}, {"of", Of}]});
json({goal, Verdict}) -> json(atom_to_list(Verdict));
json({Unit, Number}) when is_atom(Unit), is_number(Number) -> json({object, [{atom_to_list(Unit), Number}]});
json(none) -> "null";
json(Number) when is_integer(Number) -> integer_to_list(Number);
json(Number) when is_float(Number) -> io_lib:format("~.3f", [Number]);
json(Text) -> [$", [escaped(Character) || Character <- unicode:characters_to_list(Text)], $"].

%% Columns that have only verdicts.
named("") -> "verdict";
named(" ") -> "its verdict";
named(Key) -> Key.

escaped($") -> "\\\"";
escaped($\\) -> "\\\\";
escaped($\n) -> "\\n";
escaped(Character) when Character < 32 -> io_lib:format("\\u~4.16.0b", [Character]);
escaped(Character) -> unicode:characters_to_binary([Character]).
