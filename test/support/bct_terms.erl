%%% @doc Erlang terms for tests: generated terms, generated raw syntax, mutations of texts. All are
%%% drawn from `rand', so a seed repeats them.
-module(bct_terms).
-export([term/1, printed/1, syntax/1, mutated/1]).

%% @doc A term nested at most so deep, of all types that have a text.
term(0) ->
    leaf();
term(Depth) ->
    case rand:uniform(10) of
        N when N =< 4 -> leaf();
        5 -> [term(Depth - 1) || _ <- lists:seq(1, rand:uniform(5) - 1)];
        6 -> list_to_tuple([term(Depth - 1) || _ <- lists:seq(1, rand:uniform(5) - 1)]);
        7 -> maps:from_list([{term(Depth - 1), term(Depth - 1)} || _ <- lists:seq(1, rand:uniform(4) - 1)]);
        8 -> [term(Depth - 1) | leaf()];
        9 -> [{atom(), term(Depth - 1)} || _ <- lists:seq(1, rand:uniform(4))];
        10 -> string()
    end.

leaf() ->
    case rand:uniform(10) of
        1 -> rand:uniform(1000) - 500;
        2 -> rand:uniform(1 bsl 62) - (1 bsl 61);
        3 -> (rand:uniform(1 bsl 58) bsl rand:uniform(300)) * one_of([1, -1]);
        4 -> (rand:uniform() - 0.5) * math:pow(10, rand:uniform(600) - 300);
        5 -> float(rand:uniform(100));
        6 -> atom();
        7 -> unicode:characters_to_binary(string());
        8 -> rand:bytes(rand:uniform(12) - 1);
        9 -> Bits = rand:uniform(20), <<(rand:uniform(1 bsl 20)):Bits>>;
        10 -> string()
    end.

atom() ->
    one_of([ok, true, 'Quoted atom', '', 'with\'quote', 'new\nline', 'ünïcode', '日本', a@b, 'end', 'Elixir.Some.Module',
            undefined, 'fun', '\x{7f}', x1, '1x']).

string() ->
    [character() || _ <- lists:seq(1, rand:uniform(8) - 1)].

character() ->
    one_of([rand:uniform(95) + 31, rand:uniform(95) + 31, rand:uniform(255), $", $', $\\, $\n, $\t, $é, 16#65E5, 16#1F600, 127]).

%% @doc A file of terms as io_lib prints them.
printed(Depth) ->
    Format = one_of(["~p", "~w", "~tp", "~tw", "~60p", "~0p"]),
    [
        case rand:uniform(6) of 1 -> "%% coding: utf-8\n"; _ -> "" end,
        [[io_lib:format(Format, [term(Depth)]), one_of([".\n", ". ", " .\n\n", ".% end\n"])]
         || _ <- lists:seq(1, rand:uniform(3))]
    ].

%% @doc A file of terms in all the ways in which they can be written, most of them valid.
syntax(Depth) ->
    [[space(), raw(Depth), space(), one_of([".\n", ". ", ".\t", ".%\n"])] || _ <- lists:seq(1, rand:uniform(2))].

raw(0) ->
    raw_leaf();
raw(Depth) ->
    case rand:uniform(13) of
        N when N =< 5 -> raw_leaf();
        6 -> [${, raw_items(Depth), $}];
        7 -> [$[, raw_items(Depth), $]];
        8 -> [$[, raw(Depth - 1), space(), $|, space(), raw(Depth - 1), $]];
        9 -> ["#", space(), ${, join([[raw(Depth - 1), space(), one_of(["=>", "=>", "=>", "=>", ":="]), space(), raw(Depth - 1)]
                                     || _ <- lists:seq(1, rand:uniform(4) - 1)]), $}];
        10 -> [$(, space(), raw(Depth - 1), space(), $)];
        11 -> bits(Depth);
        12 -> bits(Depth);
        13 -> [one_of("+-"), space(), raw(Depth - 1)]
    end.

raw_items(Depth) ->
    join([raw(Depth - 1) || _ <- lists:seq(1, rand:uniform(5) - 1)]).

join(Items) ->
    lists:join([space(), $,, space()], Items).

space() ->
    one_of(["", "", "", "", " ", "\n", "\t", " % comment\n", "\r\n", "  ", [16#A0], [0]]).

raw_leaf() ->
    case rand:uniform(13) of
        1 -> number();
        2 -> number();
        3 -> [one_of(["-", "+", "- ", ""]), number()];
        4 -> one_of(["a", "aB_9@x", "'quoted'", "'a\\x{65e5}'", "''", "'it''s'", "ok", "end", "fun", "maybe_x", "é", "éa÷", "Var", "_", "begin"]);
        5 -> raw_string();
        6 -> raw_string();
        7 -> [raw_string(), one_of([" ", "\n", "%c\n"]), raw_string()];
        8 -> [$$, raw_character()];
        9 -> [one_of("+-"), $$, raw_character()];
        10 -> [$', [raw_character() || _ <- lists:seq(1, rand:uniform(5))], $'];
        11 -> "<<>>";
        12 -> ["<<", raw_string(), ">>"];
        13 -> one_of(["[]", "{}", "#{}", "\"\"", "[a|[]]", "[a|b]", "[[]|\"x\"]", "fun m:f/1", "#r{a=1}", "1+1", "a:b", "[a||b]", "#Ref<1>", "?M"])
    end.

number() ->
    case rand:uniform(14) of
        1 -> digits();
        2 -> [digits(), $_, digits()];
        3 -> [digits(), $., digits()];
        4 -> [digits(), $., digits(), one_of("eE"), one_of(["", "-", "+"]), integer_to_list(rand:uniform(400))];
        5 -> [integer_to_list(rand:uniform(40)), $#, based()];
        6 -> [integer_to_list(rand:uniform(36)), $#, based()];
        7 -> ["16#", based(), $_, based()];
        8 -> integer_to_list(rand:uniform(1 bsl 58) bsl rand:uniform(200));
        9 -> [digits(), "__", digits()];
        10 -> [digits(), $_];
        11 -> ["1_6#", based()];
        12 -> [digits(), $., digits(), $_, digits(), "e1_0"];
        13 -> ["0", digits()];
        14 -> [digits(), one_of(["e", "e5", ".e5", ".", "..", ".5.5", "#", "a", "#-1", ".0e", ".0e+"])]
    end.

digits() ->
    [one_of("0123456789") || _ <- lists:seq(1, rand:uniform(4))].

based() ->
    [one_of("0123456789abcdefABCDEFzZ01010101") || _ <- lists:seq(1, rand:uniform(4))].

raw_string() ->
    [$", [raw_character() || _ <- lists:seq(1, rand:uniform(6) - 1)], $"].

raw_character() ->
    one_of([
        "a", "Z", " ", "\n", "é", "日", [16#1F600], "%", ".", "{",
        "\\n", "\\r", "\\t", "\\v", "\\b", "\\f", "\\e", "\\s", "\\d", "\\\\", "\\\"", "\\'", "\\q", "\\é", "\\日", "\\\n",
        "\\0", "\\7", "\\12", "\\123", "\\777", "\\8", "\\1234", "\\x41", "\\x{41}", "\\x{1F600}", "\\x{0000000041}",
        "\\x{D800}", "\\x{110000}", "\\x{FFFE}", "\\x{}", "\\x4", "\\xZZ", "\\x{", "\\^a", "\\^A", "\\^[", "\\^é", "\\^\n", "\\^ ", "\\^?",
        [16#FFFD], [1], [127], [16#80], [16#A0]
    ]).

bits(Depth) ->
    ["<<", space(), join([segment(Depth) || _ <- lists:seq(1, rand:uniform(3))]), space(), ">>"].

segment(Depth) ->
    Value = case rand:uniform(9) of
        1 -> raw_string();
        2 -> number();
        3 -> [$(, raw(Depth - 1), $)];
        4 -> bits(max(1, Depth - 1));
        5 -> [$$, raw_character()];
        6 -> [$-, number()];
        7 -> integer_to_list(rand:uniform(70000));
        8 -> one_of(["1.5", "-0.1", "3.0e38", "1.0e39", "65504.0", "65520.0", "1.0e-8", "5.9e-8", "100000.0", "1.0e-310"]);
        9 -> integer_to_list(rand:uniform(300))
    end,
    Size = case rand:uniform(4) of
        1 -> [space(), $:, space(), one_of([integer_to_list(rand:uniform(70)), "8", "16", "32", "64", "0", "(8)", "(+8)", "(-8)", "-8", "$\\b", "all",
                                            "undefined", "default", "a", "1.0", "\"a\"", "16#10"])];
        _ -> ""
    end,
    Types = case rand:uniform(3) of
        1 -> [space(), $/, space(), lists:join($-, [type() || _ <- lists:seq(1, rand:uniform(3))])];
        _ -> ""
    end,
    [Value, Size, Types].

type() ->
    one_of(["integer", "float", "binary", "bytes", "bits", "bitstring", "utf8", "utf16", "utf32", "big", "little", "native",
            "signed", "unsigned", "unit:1", "unit:8", "unit:0", "unit:257", "unit:3", "unit:16#8", "'utf8'", "nope", "integer:8", "Unit", "float"]).

%% @doc A text with one to three small changes.
mutated(Text) ->
    lists:foldl(fun(_, Bytes) -> mutate(Bytes) end, Text, lists:seq(1, rand:uniform(3))).

mutate(<<>>) ->
    <<"a">>;
mutate(Bytes) ->
    At = rand:uniform(byte_size(Bytes)) - 1,
    <<Head:At/binary, Byte, Tail/binary>> = Bytes,
    case rand:uniform(6) of
        1 -> <<Head/binary, Tail/binary>>;
        2 -> <<Head/binary, (interesting())/binary, Byte, Tail/binary>>;
        3 -> <<Head/binary, (rand:uniform(256) - 1), Tail/binary>>;
        4 -> <<Head/binary, (interesting())/binary, Tail/binary>>;
        5 -> <<Head/binary, Byte, Byte, Tail/binary>>;
        6 ->
            Length = min(byte_size(Tail), rand:uniform(8)),
            <<Cut:Length/binary, Rest/binary>> = Tail,
            <<Head/binary, Cut/binary, Byte, Rest/binary>>
    end.

interesting() ->
    iolist_to_binary(one_of([
        "\"", "'", "$", "\\", "%", "\n", ".", ",", "(", ")", "[", "]", "{", "}", "<<", ">>", "#", "=>", ":=", "|", "||", "-", "+", "_",
        "/", ":", "0", "1", "e", "a", "A", "@", "~", "?", "!", "16#", "1.5", "end", "fun", <<0>>, <<255>>, <<195, 169>>, <<239, 191, 190>>,
        <<226, 130>>, "\\x{", "\\^", " ", ". ", "--", "++", "->", "..", "coding: latin-1"
    ])).

one_of(List) ->
    lists:nth(rand:uniform(length(List)), List).
