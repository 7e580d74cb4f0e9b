%% Figures side by side, as Markdown for people and as JSON for programs.
-module(bench_table).

-export([markdown/1, json/1, text/1]).

-export_type([section/0, cell/0]).

-type section() ::
    #{title := iodata(), headings := [string()], rows := [[cell()]], notes => [iodata()]} | #{markdown := iodata()}.

%% What is measured is a number with its unit; everything else is text.
-type cell() ::
    iodata()
    | {ns | ms | percent | count | ratio | faster, number()}
    | {ratios, Low :: number(), High :: number()}
    | {goal, met | missed}
    | none.

-spec markdown(section()) -> iodata().
markdown(#{markdown := Text}) ->
    Text;
markdown(#{title := Title, headings := Headings, rows := Rows} = Section) ->
    Lines = [Headings, ["---" || _ <- Headings] | Rows],
    ["\n## ", Title, "\n\n", [line(Line) || Line <- Lines], [[$\n, Note, $\n] || Note <- maps:get(notes, Section, [])]].

line(Cells) ->
    ["| ", lists:join(" | ", [text(Cell) || Cell <- Cells]), " |\n"].

-spec text(cell()) -> iodata().
text({ns, Ns}) when Ns < 1_000_000 -> io_lib:format("~.2f us", [Ns / 1000]);
text({ns, Ns}) -> io_lib:format("~.2f ms", [Ns / 1_000_000]);
text({ms, Ms}) -> io_lib:format("~.1f ms", [float(Ms)]);
text({percent, Percent}) -> io_lib:format("~.2f %", [float(Percent)]);
text({count, Count}) -> integer_to_list(Count);
text({ratio, Ratio}) -> io_lib:format("~.2f x", [Ratio]);
text({faster, Ratio}) when Ratio < 100 -> io_lib:format("~.2f x faster", [Ratio]);
text({faster, Ratio}) -> io_lib:format("~b x faster", [round(Ratio)]);
text({ratios, Low, High}) when High < 100 -> io_lib:format("~.2f to ~.2f", [Low, High]);
text({ratios, Low, High}) -> io_lib:format("~b to ~b", [round(Low), round(High)]);
text({goal, met}) -> "met";
text({goal, missed}) -> "**MISSED**";
text(none) -> "";
text(Text) -> Text.

%% A map, a list, a section's cell, text or a number. OTP has no encoder before 27.
-spec json(term()) -> iodata().
json(#{headings := Headings, rows := Rows} = Section) ->
    json(#{title => maps:get(title, Section), rows => {list, [{object, lists:zip(Headings, Row)} || Row <- Rows]}, notes => {list, maps:get(notes, Section, [])}});
json(#{sections := Sections} = Map) when is_list(Sections) -> json(Map#{sections := {list, Sections}});
json(#{} = Map) -> json({object, [{atom_to_list(Key), Value} || {Key, Value} <- maps:to_list(Map)]});
json({object, Pairs}) -> ["{", lists:join(",", [[json(named(Key)), ":", json(Value)] || {Key, Value} <- Pairs]), "}\n"];
json({list, Items}) -> ["[", lists:join(",", [json(Item) || Item <- Items]), "]"];
json({ratios, Low, High}) -> json({object, [{"low", Low}, {"high", High}]});
json({goal, Verdict}) -> json(atom_to_list(Verdict));
json({Unit, Number}) when is_atom(Unit), is_number(Number) -> json({object, [{atom_to_list(Unit), Number}]});
json(none) -> "null";
json(Number) when is_integer(Number) -> integer_to_list(Number);
json(Number) when is_float(Number) -> io_lib:format("~.3f", [Number]);
json(Text) -> [$", [escaped(Character) || Character <- unicode:characters_to_list(Text)], $"].

%% A column that has only verdicts.
named("") -> "verdict";
named(Key) -> Key.

escaped($") -> "\\\"";
escaped($\\) -> "\\\\";
escaped($\n) -> "\\n";
escaped(Character) when Character < 32 -> io_lib:format("\\u~4.16.0b", [Character]);
escaped(Character) -> unicode:characters_to_binary([Character]).
