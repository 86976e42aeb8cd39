%%% @doc What the demo prints: one timeline, in columns that stay where they are.
-module(bcg_demo_screen).

-export([title/0, pushed/3, row/1, claims/1, verdict/1, complaint/1]).

-define(WIDTH, 96).

%% @doc What is about to happen, and the heads of the columns.
-spec title() -> ok.
title() ->
    Story = ": three applications, one GitOps repository, and nothing but git push",
    line([bold("bc_gitops"), Story]),
    line(""),
    line(dim(cells(["at", "what", "app", "from", "to", "took", "calls", "failed", "longest gap"]))),
    line(dim(lists:duplicate(?WIDTH, rule()))).

%% @doc A push: when, which commit, and its message.
-spec pushed(AtMs :: number(), Commit :: binary(), Message :: iodata()) -> ok.
pushed(At, Commit, Message) ->
    Push = paint("36", ["git push ", binary:part(Commit, 0, 7)]),
    line([pad(seconds(At), -8), "  ", Push, "  ", bold(Message)]).

%% @doc Something that happened. Missing columns stay empty.
-spec row(map()) -> ok.
row(Row) ->
    Failed = maps:get(failed, Row, undefined),
    Cells = [
        seconds(maps:get(at, Row)), maps:get(what, Row),
        text(Row, app), text(Row, from), text(Row, to),
        duration(maps:get(took, Row, undefined)), number(maps:get(calls, Row, undefined)),
        number(Failed), duration(maps:get(gap, Row, undefined))
    ],
    line(paint(colour(maps:get(mood, Row, good)), cells(Cells))).

%% @doc The claims of a step, each with whether it held.
-spec claims([map()]) -> ok.
claims(Claims) ->
    lists:foreach(fun claim/1, Claims),
    line("").

claim(#{holds := true, text := Text}) ->
    line([lists:duplicate(10, $\s), paint("32", mark(good)), " ", dim(Text)]);
claim(#{holds := false, id := Id, text := Text, expected := Expected, actual := Actual}) ->
    line([lists:duplicate(10, $\s), paint("31", [mark(bad), " NOT TRUE: ", Text])]),
    line(io_lib:format("~12cclaim:    ~ts", [$\s, Id])),
    line(io_lib:format("~12cexpected: ~0tp", [$\s, Expected])),
    line(io_lib:format("~12cfound:    ~0tp", [$\s, Actual])).

%% @doc The last lines.
-spec verdict(map()) -> ok.
verdict(#{broken := [], held := Held, calls := Calls, took := Took}) ->
    line(paint("32;1", io_lib:format("All ~b claims held, ~ts calls made, ~ts.",
                                     [Held, number(Calls), duration(Took)])));
verdict(#{broken := Broken}) ->
    Ids = lists:join(", ", [atom_to_list(Id) || #{id := Id} <- Broken]),
    line(paint("31;1", ["Not as claimed: ", Ids])).

%% @doc Why the demo ends early.
-spec complaint(iodata()) -> ok.
complaint(Message) ->
    line(paint("31;1", ["demo: ", Message])).

%% Columns

cells([At, What, App, From, To, Took, Calls, Failed, Gap]) ->
    [
        pad(At, -8), "  ", pad(What, 26), " ", pad(App, 8), " ", pad(From, 8), " ", pad(To, 8), " ",
        pad(Took, -8), " ", pad(Calls, -6), " ", pad(Failed, -6), " ", pad(Gap, -11)
    ].

%% A positive width pads on the right, a negative one on the left.
pad(Text, Width) when Width > 0 -> string:pad(Text, Width, trailing);
pad(Text, Width) -> string:pad(Text, -Width, leading).

text(Row, Key) -> maps:get(Key, Row, "").

seconds(Text) when is_list(Text) -> Text;
seconds(Ms) -> io_lib:format("~.1f s", [Ms / 1000]).

duration(undefined) -> "";
duration(Ms) when Ms >= 1000 -> io_lib:format("~.2f s", [Ms / 1000]);
duration(Ms) when Ms >= 10 -> io_lib:format("~b ms", [round(Ms)]);
duration(Ms) -> io_lib:format("~.1f ms", [Ms * 1.0]).

number(undefined) -> "";
number(N) when N >= 1000 -> io_lib:format("~b,~3..0b", [N div 1000, N rem 1000]);
number(N) -> integer_to_list(N).

%% Colours on a terminal only (examples/demo.sh looks), signs as the locale can show them

colour(good) -> "0";
colour(bad) -> "33".

bold(Text) -> paint("1", Text).

dim(Text) -> paint("2", Text).

paint(Code, Text) ->
    case os:getenv("DEMO_COLOUR") of
        "yes" -> ["\e[", Code, "m", Text, "\e[0m"];
        _ -> Text
    end.

mark(Kind) ->
    case {unicode(), Kind} of
        {true, good} -> [16#2713];
        {true, bad} -> [16#2717];
        {false, good} -> "ok";
        {false, bad} -> "!!"
    end.

rule() ->
    case unicode() of
        true -> 16#2500;
        false -> $-
    end.

unicode() ->
    Values = [os:getenv(Name, "") || Name <- ["LC_ALL", "LC_CTYPE", "LANG"]],
    [Locale | _] = [Value || Value <- Values, Value =/= ""] ++ [""],
    string:find(string:lowercase(Locale), "utf") =/= nomatch.

line(Text) ->
    io:put_chars([string:trim(unicode:characters_to_list(Text), trailing, " "), $\n]).
