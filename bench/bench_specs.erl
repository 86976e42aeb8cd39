%%% @doc Specifications of a commit and of a directory, against `file:consult/1' of as many files.
-module(bench_specs).

-export([run/0]).

-define(ROOM, 100000).

run() ->
    [rows(Format, Count) || Count <- [100, 1000, 5000], Format <- [config, yaml, json]],
    ok.

rows(Format, Count) ->
    bct_dir:with("bench", fun(Dir) ->
        {Repo, Commit} = bench_repo:make(filename:join(Dir, "repo"), Format, Count),
        Followed = filename:join(Dir, <<"followed">>),
        #{commit := Commit} = bench_repo:follow(bct_repo:url(Repo), Followed),
        Apps = filename:join(Repo, "apps"),
        Theirs = theirs(Format, Dir, Apps, Count),
        Options = #{apps_dir => <<"apps">>, atom_room => ?ROOM},
        From = fun(Where) -> io_lib:format("read ~b .~s specs from a ~s", [Count, Format, Where]) end,
        bench_rows:row(#{
            what => From("commit"), theirs => Theirs,
            ours => fun() ->
                {ok, Snapshot} = bc_gitops_native:snapshot_open(Followed, Commit, Options, undefined),
                #{apps := Count} = bc_gitops_native:snapshot_summary(Snapshot)
            end,
            aim => aim_of_commit(Format, Count)}),
        bench_rows:row(#{
            what => From("directory"), theirs => Theirs,
            ours => fun() -> {ok, #{}} = bc_gitops_native:spec_dir(Apps, ?ROOM) end,
            aim => aim_of_directory(Format)})
    end).

aim_of_commit(config, 1000) -> {ms, 15};
aim_of_commit(_, 1000) -> {ms, 20};
aim_of_commit(_, _) -> none.

aim_of_directory(config) -> {times, 15};
aim_of_directory(_) -> none.

theirs(config, _Dir, Apps, Count) ->
    {"file:consult", consult(Apps, Count)};
theirs(json, _Dir, Apps, Count) ->
    case code:ensure_loaded(json) of
        {module, json} -> {"file:read_file, json:decode", decode(Apps, Count)};
        {error, _} -> same_in_config(Apps, Count)
    end;
theirs(yaml, _Dir, Apps, Count) ->
    same_in_config(Apps, Count).

%% OTP has no reader: the same specifications as Erlang terms.
same_in_config(Apps, Count) ->
    Other = filename:join(filename:dirname(filename:dirname(Apps)), "config"),
    _ = [begin
             File = filename:join(Other, Path),
             ok = filelib:ensure_dir(File),
             ok = file:write_file(File, Text)
         end || {Path, Text} <- bench_repo:files(config, Count, 1)],
    {"file:consult of .config", consult(filename:join(Other, "apps"), Count)}.

consult(Apps, Count) ->
    Files = [file(Apps, N, "app.config") || N <- lists:seq(1, Count)],
    fun() -> [{ok, [#{}]} = file:consult(F) || F <- Files] end.

decode(Apps, Count) ->
    Files = [file(Apps, N, "app.json") || N <- lists:seq(1, Count)],
    Json = json,
    fun() ->
        [begin {ok, Text} = file:read_file(F), #{} = Json:decode(Text) end || F <- Files]
    end.

file(Apps, N, Name) ->
    filename:join([Apps, bench_repo:name(N), Name]).
