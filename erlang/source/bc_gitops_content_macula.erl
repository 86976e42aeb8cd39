%%% @doc The module macula_content as a store, where this node has it. It finds, fetches and checks
%%% by itself; what it hands over is what a content id stands for: for one of kind `manifest' that
%%% is the content, put together.
-module(bc_gitops_content_macula).
-behaviour(bc_gitops_content_store).

-export([is_here/0, get/2, name/1]).

-import(bc_gitops_words, [reason/1, text/2]).

-include_lib("kernel/include/file.hrl").

-define(MODULE_NAME, macula_content).
%% The longest path that an answer is taken for.
-define(MAX_PATH, 4096).

%% @doc Whether macula_content is loaded, or stands on the code path.
-spec is_here() -> boolean().
is_here() ->
    code:ensure_loaded(?MODULE_NAME) =:= {module, ?MODULE_NAME} andalso
        erlang:function_exported(?MODULE_NAME, mcid_from_string, 1) andalso
        erlang:function_exported(?MODULE_NAME, fetch, 1).

-spec name(macula) -> binary().
name(macula) -> atom_to_binary(?MODULE_NAME).

%% It runs in a process of its own, which ends with its time or with the calling process: the mesh
%% may look for providers as long as it likes.
-spec get(macula, bc_gitops_content_store:asked()) ->
    {ok, binary()} | not_found | {error, {atom(), map()}}.
get(macula, #{mcid := Mcid, until := Until} = Asked) ->
    Caller = self(),
    Tag = make_ref(),
    {Pid, Monitor} = spawn_opt(fun() -> worker(Caller, Tag, Mcid) end, [monitor]),
    receive
        {Tag, Answer} ->
            true = demonitor(Monitor, [flush]),
            taken(Answer, Asked);
        {'DOWN', Monitor, process, Pid, Reason} ->
            failed(content_failed, "ended: ~ts", [reason(Reason)])
    after max(0, Until - erlang:monotonic_time(millisecond)) ->
        true = exit(Pid, kill),
        true = demonitor(Monitor, [flush]),
        receive {Tag, _} -> ok after 0 -> ok end,
        failed(timeout, "gave nothing in time", [])
    end.

worker(Caller, Tag, Mcid) ->
    Monitor = monitor(process, Caller),
    Self = self(),
    Fetcher = spawn_link(fun() -> Self ! {fetched, ask(?MODULE_NAME, Mcid)} end),
    receive
        {fetched, Answer} -> Caller ! {Tag, Answer};
        {'DOWN', Monitor, process, Caller, _} -> exit(Fetcher, kill)
    end.

ask(Macula, Mcid) ->
    try Macula:mcid_from_string(Mcid) of
        {error, Reason} -> {error, Reason};
        {ok, Id} -> Macula:fetch(Id);
        Id -> Macula:fetch(Id)
    catch
        Class:Reason -> {error, {Class, Reason}}
    end.

%% Versions of macula answer with the bytes, with the path of a file, or with a map that has either.
taken({ok, Answer}, Asked) -> taken(Answer, Asked);
taken(#{} = Map, Asked) -> one_of([data, content, binary, bytes, path, file], Map, Asked);
taken({error, not_found}, _Asked) -> not_found;
taken(not_found, _Asked) -> not_found;
taken({error, Reason}, _Asked) -> failed(content_failed, "failed: ~ts", [reason(Reason)]);
taken([_ | _] = Path, Asked) ->
    case unicode:characters_to_binary(Path) of
        Name when is_binary(Name) -> file(Name, Asked);
        _ -> strange()
    end;
taken(Bytes, Asked) when is_binary(Bytes) ->
    case is_file(Bytes) of
        true -> file(Bytes, Asked);
        false -> bytes(Bytes, Asked)
    end;
taken(_Other, _Asked) -> strange().

one_of([Key | Rest], Map, Asked) ->
    case Map of
        #{Key := Value} when is_binary(Value); is_list(Value) -> taken(Value, Asked);
        _ -> one_of(Rest, Map, Asked)
    end;
one_of([], _Map, _Asked) -> strange().

%% No archive and no manifest reads as the absolute path of a file that is there.
is_file(<<"/", _/binary>> = Path) when byte_size(Path) =< ?MAX_PATH ->
    binary:match(Path, [<<0>>, <<"\n">>]) =:= nomatch andalso filelib:is_regular(Path);
is_file(_Bytes) ->
    false.

bytes(Bytes, #{limit := Limit}) when byte_size(Bytes) > Limit ->
    too_large(byte_size(Bytes), Limit);
bytes(Bytes, #{to := To}) ->
    written(file:write_file(To, Bytes), To).

file(Path, #{limit := Limit, to := To}) ->
    case file:read_file_info(Path) of
        {ok, #file_info{type = regular, size = Size}} when Size =< Limit ->
            case file:copy(Path, To, Limit) of
                {ok, _} -> {ok, To};
                {error, _} = Error -> written(Error, To)
            end;
        {ok, #file_info{type = regular, size = Size}} -> too_large(Size, Limit);
        _ -> failed(content_failed, "names a file that cannot be read", [])
    end.

written(ok, To) ->
    {ok, To};
written({error, Reason}, To) ->
    {error, bc_gitops_content_error:unwritable(To, Reason)}.

too_large(Size, Limit) ->
    failed(too_large, "has it with ~b bytes, and ~b is the limit", [Size, Limit]).

strange() ->
    failed(content_failed, "answers neither bytes nor a file", []).

failed(Kind, Format, Args) ->
    {error, {Kind, #{message => text("macula_content " ++ Format, Args)}}}.
