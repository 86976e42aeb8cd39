%%% @doc Erlang terms are read and refused exactly as `file:consult/1' does.
%%%
%%% What is compared: every .app, .appup, .config and .rel file of the installed OTP and Elixir,
%%% generated terms as io_lib prints them, generated raw syntax, and mutations of all of these.
%%% Exceptions, each with a case of its own: fun terms; triple-quoted strings and sigils, which are
%%% read on every OTP; adjacent string literals without white space and `\^' before what is no
%%% letter or one of @[\]^_, which OTP 27 refuses; limits.
-module(spec_terms_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([installed_files/1, printed_terms/1, raw_syntax/1, mutations/1, latin1/1, exceptions/1, newer_syntax/1, limits/1]).

all() ->
    [installed_files, printed_terms, raw_syntax, mutations, latin1, exceptions, newer_syntax, limits].

suite() ->
    [{timetrap, {minutes, 10}}].

init_per_suite(Config) ->
    Seed = case os:getenv("BCT_SEED") of false -> 20240613; Given -> list_to_integer(Given) end,
    ct:log("seed ~p", [Seed]),
    [{program, bct_cargo:example("terms")}, {dir, bct_dir:make("terms")}, {seed, Seed} | Config].

end_per_suite(Config) ->
    bct_dir:remove(?config(dir, Config)).

installed_files(Config) ->
    Files = installed(),
    ?assert(length(Files) > 60),
    with_port(Config, fun(Port) -> [compare(Port, File) || File <- Files] end),
    {comment, io_lib:format("~p files", [length(Files)])}.

printed_terms(Config) ->
    generated(Config, 4000, fun() -> bct_terms:printed(4) end).

raw_syntax(Config) ->
    generated(Config, 12000, fun() -> bct_terms:syntax(rand:uniform(3)) end).

mutations(Config) ->
    Installed = [Bytes || File <- installed(), {ok, Bytes} <- [file:read_file(File)], byte_size(Bytes) < 4000],
    Corpus = list_to_tuple(Installed ++ [text(bct_terms:printed(3)) || _ <- lists:seq(1, 200)]
        ++ [text(bct_terms:syntax(2)) || _ <- lists:seq(1, 300)]),
    generated(Config, 12000, fun() -> bct_terms:mutated(element(rand:uniform(tuple_size(Corpus)), Corpus)) end).

latin1(Config) ->
    with_port(Config, fun(Port) ->
        [compare_text(Config, Port, Text) || Text <- [
            <<"%% coding: latin-1\n{\"", 233, "\", '", 233, "', ", 233, ", $", 233, "}.\n">>,
            <<"%% -*- coding: latin-1 -*-\n\"", 195, 169, "\".">>,
            <<"\n%% coding: latin-1\n\"", 233, "\".">>,
            <<"\n\n%% coding: latin-1\n\"", 233, "\".">>,
            <<"%% coding: utf-8\n\"", 195, 169, "\".">>,
            <<"%% coding: utf-8\n\"", 233, "\".">>,
            <<"\"% coding: latin-1 \", \"", 233, "\".">>,
            <<"%% coding: latin-1">>,
            <<"{\"", 239, 187, 191, "\"}.">>,
            <<239, 187, 191, "{}.">>,
            <<"">>, <<"%">>, <<" \n">>, <<".">>, <<"a">>, <<"a.">>, <<"a.b.">>, <<"a.%b">>, <<"a. b">>
        ]] ++ [compare_text(Config, Port, iolist_to_binary([lists:duplicate(N, $%), " coding: latin-1\n$", 233, "."])) || N <- lists:seq(460, 520)]
    end).

exceptions(Config) ->
    with_port(Config, fun(Port) ->
        ?assertMatch({error, {1, 2, fun_term, _}}, read_text(Config, Port, "{fun lists:map/2}.")),
        %% OTP 27 refuses it, older ones and we read it
        ?assertEqual({ok, ["ab"]}, read_text(Config, Port, "\"a\"\"b\".")),
        ?assertEqual({ok, ["\n"]}, read_text(Config, Port, "\"\\^\n\".")),
        %% reserved words of OTP 27
        ?assertEqual({ok, ['maybe', 'else']}, read_text(Config, Port, "maybe. else."))
    end).

newer_syntax(Config) ->
    with_port(Config, fun(Port) ->
        [?assertEqual({ok, [Expected]}, read_text(Config, Port, Text)) || {Text, Expected} <- [
            {"\"\"\"\n  Hello\n   \"you\"\n  \"\"\".", "Hello\n \"you\""},
            {"\"\"\"\n\"\"\".", ""},
            {"\"\"\"\"\n\"\"\"\n\"\"\"\".", "\"\"\""},
            {"\"\"\"\n  \\n\n  \"\"\".", "\\n"},
            {"~\"abc\\n\".", <<"abc\n">>},
            {"~b(a\\)b).", <<"a)b">>},
            {"~B[a\\nb].", <<"a\\nb">>},
            {"~s{x\\ty}.", "x\ty"},
            {"~S'x\\ty'.", "x\\ty"},
            {["~\"", 233, "\"."], <<"é"/utf8>>},
            {"~\"\"\"\n  a\\tb\n  \"\"\".", <<"a\\tb">>},
            {"~b\"\"\"\n  a\\tb\n  \"\"\".", <<"a\tb">>},
            {"<<~\"ab\"/binary, ~s\"cd\">>.", <<"abcd">>},
            {"[~\"ab\", ~s|cd|].", [<<"ab">>, "cd"]}
        ]],
        [?assertMatch({error, {_, _, syntax, _}}, read_text(Config, Port, Text)) || Text <- [
            "~x\"a\".", "~\"a\"x.", "~ \"a\".", "\"\"\"a\"\"\".", "\"\"\"\n  a\n b\n  \"\"\".", "~b", "~", "\"\"\"\na"
        ]],
        case list_to_integer(erlang:system_info(otp_release)) >= 27 of
            true -> [compare_text(Config, Port, Text) || Text <- newer()];
            false -> ok
        end
    end).

newer() ->
    ["\"\"\"\n  Hello\n   \"you\"\n  \"\"\".", "~\"abc\\n\".", "~b(a\\)b).", "~B[a\\nb].", "~s{x\\ty}.", "~x\"a\".", "~\"a\"x.",
     "\"\"\"\n  a\n b\n  \"\"\".", "\"\"\"\n  a\n\n  b\n  \"\"\".", "\"\"\"\n\"\"\".", "~\"\"\"\n  a\\tb\n  \"\"\"."].

limits(Config) ->
    with_port(Config, fun(Port) ->
        Deep = [lists:duplicate(1000, $[), lists:duplicate(1000, $]), $.],
        ?assertMatch({error, {1, 201, too_deep, _}}, read_text(Config, Port, Deep)),
        [?assertMatch({error, {1, _, too_large, _}}, read_text(Config, Port, Text)) || Text <- [
            [lists:duplicate(5000, $9), $.], ["16#", lists:duplicate(1000000, $F), $.], "<<0:100000000>>.", "<<0:99999999999999999999999>>.",
            ["'", lists:duplicate(256, $a), "'."]
        ]]
    end).

%% Helpers

installed() ->
    Roots = [code:root_dir() | [Dir || Dir <- ["/usr/lib/elixir", "/usr/local/lib/elixir"], filelib:is_dir(Dir)]],
    lists:append([[filename:join(Root, File) || File <- filelib:wildcard("**/*.{app,appup,config,rel}", Root)] || Root <- Roots]).

generated(Config, Count, Generate) ->
    _ = rand:seed(exsss, ?config(seed, Config)),
    with_port(Config, fun(Port) ->
        Results = [compare_text(Config, Port, text(Generate())) || _ <- lists:seq(1, Count)],
        Read = length([ok || read <- Results]),
        Excepted = length([excepted || excepted <- Results]),
        ct:log("~p texts, ~p of them read, ~p excepted", [Count, Read, Excepted]),
        %% a generator that makes only faults, or none, would prove little
        ?assert(Read > Count div 10),
        {comment, io_lib:format("~p texts, ~p of them read", [Count, Read])}
    end).

%% Binaries are files as they are, lists are characters.
text(Binary) when is_binary(Binary) ->
    Binary;
text(Chars) ->
    case unicode:characters_to_binary(Chars) of
        Binary when is_binary(Binary) -> Binary
    end.

compare_text(Config, Port, Text) ->
    case excepted(text(Text)) of
        true -> excepted;
        false -> compare(Port, write(Config, Text))
    end.


%% Texts that fall under the exceptions at the top of this module, or that would make
%% `file:consult/1' ask for gigabytes.
excepted(Text) ->
    Newer = case list_to_integer(erlang:system_info(otp_release)) >= 27 of
        true -> "|\"\"|\\b(maybe|else)\\b|\\\\\\^[^@-_a-z]";
        false -> ""
    end,
    re:run(Text, "\"\"\"|~|:\\s*[(+\\s]*[0-9_]{6,}|:\\s*[(+\\s]*[0-9_]+#|unit:[0-9]{4}" ++ Newer) =/= nomatch.

compare(Port, File) ->
    Expected = try file:consult(File) of
        {ok, Terms} -> {ok, Terms};
        {error, _} -> refused
    catch
        _:_ -> refused
    end,
    case {Expected, read(Port, File)} of
        {{ok, Same}, {ok, Same}} -> read;
        {refused, {error, _}} -> refused;
        {_, {error, {_, _, fun_term, _}}} -> excepted;
        {_, {error, {_, _, Limit, _}}} when Limit =:= too_deep; Limit =:= too_large -> excepted;
        {Theirs, Ours} -> ct:fail("~ts~n~tp~nfile:consult: ~tp~nours: ~tp", [File, file:read_file(File), Theirs, Ours])
    end.

read_text(Config, Port, Text) ->
    read(Port, write(Config, Text)).

write(Config, Text) ->
    File = filename:join(?config(dir, Config), "text.config"),
    ok = file:write_file(File, text(Text), [raw]),
    File.

with_port(Config, Fun) ->
    Port = open_port({spawn_executable, ?config(program, Config)}, [{packet, 4}, binary, exit_status]),
    try Fun(Port) after port_close(Port) end.

read(Port, File) ->
    true = port_command(Port, unicode:characters_to_binary(File)),
    receive
        {Port, {data, Answer}} -> binary_to_term(Answer);
        {Port, {exit_status, Status}} -> ct:fail("the reader ended with ~p at ~ts: ~tp", [Status, File, file:read_file(File)])
    end.
